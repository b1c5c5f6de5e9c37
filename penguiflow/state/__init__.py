"""Stores: what they keep, what they can do, and one that lives in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penguiflow.state.capabilities import missing_capabilities, require_capabilities
from penguiflow.state.models import (
    SESSION_TRACE_PREFIX,
    HeldBinding,
    RemoteBinding,
    StateUpdate,
    SteeringEvent,
    SteeringEventType,
    StoredEvent,
    TaskContextSnapshot,
    TaskState,
    TaskStateModel,
    TaskStatus,
    TaskType,
    UpdateType,
)
from penguiflow.state.protocols import (
    StateStore,
    SupportsArtifacts,
    SupportsBindingTransfer,
    SupportsBulkEvents,
    SupportsConversationBindings,
    SupportsMemoryState,
    SupportsPlannerEvents,
    SupportsPlannerState,
    SupportsRetention,
    SupportsSteering,
    SupportsSweep,
    SupportsTasks,
    SupportsTenantHistory,
    SupportsTraceEnds,
    SupportsTrajectories,
)

if TYPE_CHECKING:
    from penguiflow.state.in_memory import InMemoryStateStore, PlaygroundArtifactStore

_LAZY = frozenset({"InMemoryStateStore", "PlaygroundArtifactStore"})


def __getattr__(name: str) -> Any:
    # The in-memory store needs steering and artifacts, which in turn need the models above.
    if name in _LAZY:
        from penguiflow.state import in_memory

        return getattr(in_memory, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


__all__ = [
    "SESSION_TRACE_PREFIX",
    "HeldBinding",
    "InMemoryStateStore",
    "PlaygroundArtifactStore",
    "RemoteBinding",
    "StateStore",
    "StateUpdate",
    "SteeringEvent",
    "SteeringEventType",
    "StoredEvent",
    "SupportsArtifacts",
    "SupportsBindingTransfer",
    "SupportsBulkEvents",
    "SupportsConversationBindings",
    "SupportsMemoryState",
    "SupportsPlannerEvents",
    "SupportsPlannerState",
    "SupportsRetention",
    "SupportsSteering",
    "SupportsSweep",
    "SupportsTasks",
    "SupportsTenantHistory",
    "SupportsTraceEnds",
    "SupportsTrajectories",
    "TaskContextSnapshot",
    "TaskState",
    "TaskStateModel",
    "TaskStatus",
    "TaskType",
    "UpdateType",
    "missing_capabilities",
    "require_capabilities",
]
