"""Everything a store keeps.

StoredEvent, RemoteBinding, HeldBinding      in `records`
tasks, updates, steering events, their enums in `tasks`
"""

from __future__ import annotations

from penguiflow.state.records import (
    SESSION_TRACE_PREFIX,
    FlowEventLike,
    HeldBinding,
    RemoteBinding,
    StoredEvent,
)
from penguiflow.state.tasks import (
    StateUpdate,
    SteeringEvent,
    SteeringEventType,
    TaskContextSnapshot,
    TaskState,
    TaskStateModel,
    TaskStatus,
    TaskType,
    UpdateType,
    utc_now,
)

__all__ = [
    "SESSION_TRACE_PREFIX",
    "FlowEventLike",
    "HeldBinding",
    "RemoteBinding",
    "StateUpdate",
    "SteeringEvent",
    "SteeringEventType",
    "StoredEvent",
    "TaskContextSnapshot",
    "TaskState",
    "TaskStateModel",
    "TaskStatus",
    "TaskType",
    "UpdateType",
    "utc_now",
]
