"""The models of a session; their home is `penguiflow.state.models`."""

from __future__ import annotations

from penguiflow.state.models import (
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

__all__ = [
    "StateUpdate",
    "SteeringEvent",
    "SteeringEventType",
    "TaskContextSnapshot",
    "TaskState",
    "TaskStateModel",
    "TaskStatus",
    "TaskType",
    "UpdateType",
]
