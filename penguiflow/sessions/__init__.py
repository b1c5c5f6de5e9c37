"""What a store keeps of sessions, and the broker that spreads their updates."""

from __future__ import annotations

from penguiflow.sessions.broker import UpdateBroker
from penguiflow.sessions.models import (
    StateUpdate,
    SteeringEvent,
    SteeringEventType,
    TaskContextSnapshot,
    TaskState,
    TaskStateModel,
    TaskStatus,
    TaskType,
    UpdateType,
)
from penguiflow.sessions.persistence import (
    InMemorySessionStateStore,
    SessionStateStore,
    StateStoreSessionAdapter,
)

__all__ = [
    "InMemorySessionStateStore",
    "SessionStateStore",
    "StateStoreSessionAdapter",
    "StateUpdate",
    "SteeringEvent",
    "SteeringEventType",
    "TaskContextSnapshot",
    "TaskState",
    "TaskStateModel",
    "TaskStatus",
    "TaskType",
    "UpdateBroker",
    "UpdateType",
]
