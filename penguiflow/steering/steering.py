"""Steering a running task: what may be asked of it, cleaned and checked.

sanitize_payload            bounded, JSON-friendly
sanitize_steering_event     the same for an event, bounded in bytes too
validate_steering_event     each event type has what it needs
SteeringInbox               what a task has yet to react to
"""

from __future__ import annotations

from penguiflow.state.tasks import SteeringEvent, SteeringEventType
from penguiflow.steering.errors import SteeringCancelled, SteeringValidationError
from penguiflow.steering.inbox import SteeringInbox
from penguiflow.steering.sanitize import (
    MAX_STEERING_DEPTH,
    MAX_STEERING_KEYS,
    MAX_STEERING_LIST_ITEMS,
    MAX_STEERING_PAYLOAD_BYTES,
    MAX_STEERING_STRING,
    sanitize_payload,
    sanitize_steering_event,
)
from penguiflow.steering.validate import validate_steering_event

__all__ = [
    "MAX_STEERING_DEPTH",
    "MAX_STEERING_KEYS",
    "MAX_STEERING_LIST_ITEMS",
    "MAX_STEERING_PAYLOAD_BYTES",
    "MAX_STEERING_STRING",
    "SteeringCancelled",
    "SteeringEvent",
    "SteeringEventType",
    "SteeringInbox",
    "SteeringValidationError",
    "sanitize_payload",
    "sanitize_steering_event",
    "validate_steering_event",
]
