"""Steering of running tasks; everything is in `penguiflow.steering.steering`."""

from __future__ import annotations

from penguiflow.steering.steering import (
    MAX_STEERING_DEPTH,
    MAX_STEERING_KEYS,
    MAX_STEERING_LIST_ITEMS,
    MAX_STEERING_PAYLOAD_BYTES,
    MAX_STEERING_STRING,
    SteeringCancelled,
    SteeringEvent,
    SteeringEventType,
    SteeringInbox,
    SteeringValidationError,
    sanitize_payload,
    sanitize_steering_event,
    validate_steering_event,
)

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
