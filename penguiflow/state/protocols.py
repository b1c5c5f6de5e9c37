"""What a store can do. Only `StateStore` is required, the rest is found by duck typing.

StateStore                     events, history, bindings
SupportsPlannerState           pause and resume
SupportsMemoryState            memory by key
SupportsTasks                  tasks and their updates
SupportsSteering               steering events
SupportsTrajectories           trajectories by session
SupportsPlannerEvents          planner events by trace
SupportsArtifacts              an artifact store
SupportsConversationBindings   bindings by conversation
SupportsBindingTransfer        bindings by trace, tenant or age; take-over, delete
SupportsBulkEvents             many events in one call
SupportsTenantHistory          one tenant's share of a history
SupportsRetention              forgetting traces
SupportsTraceEnds              knowing when a trace is over
SupportsSweep                  applying its own retention
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

from penguiflow.artifacts.protocol import ArtifactStore
from penguiflow.state.records import HeldBinding, RemoteBinding, StoredEvent
from penguiflow.state.tasks import StateUpdate, SteeringEvent, TaskState


@runtime_checkable
class StateStore(Protocol):
    """Keeps what happened, so that another process can read it."""

    async def save_event(self, event: StoredEvent) -> None:
        """Append an event.

        Guarantees: idempotent. An event with an `event_id` is stored once per id; without one,
        an event that equals a stored one is that event.
        """

    async def load_history(self, trace_id: str) -> Sequence[StoredEvent]:
        """The events of a trace by `ts`, then arrival; by `seq` when every event has one.

        Empty when the trace is unknown.
        """

    async def save_remote_binding(self, binding: RemoteBinding) -> None:
        """Create or replace the binding with this key."""


@runtime_checkable
class SupportsBulkEvents(Protocol):
    """Saves many events in one call."""

    async def save_events(self, events: Sequence[StoredEvent]) -> None:
        """Append events in this order; each as `save_event` does, so a retry repeats the call."""


@runtime_checkable
class SupportsTenantHistory(Protocol):
    """Tells the tenants that share a trace id apart."""

    async def load_tenant_history(self, trace_id: str, *, tenant: str) -> Sequence[StoredEvent]:
        """The events of one tenant's trace, ordered as by `load_history`."""


@runtime_checkable
class SupportsRetention(Protocol):
    """Forgets traces: their events, planner events and bindings."""

    async def delete_trace(self, trace_id: str, *, tenant: str | None = None) -> bool:
        """Forget a trace, of one tenant or of all; whether there was anything to forget."""

    async def expire_traces(self, *, older_than: timedelta) -> int:
        """Forget every trace whose last event arrived longer ago; how many there were."""


@runtime_checkable
class SupportsTraceEnds(Protocol):
    """Keeps a trace for a while after its end, and not longer."""

    async def mark_trace_ended(self, trace_id: str, *, tenant: str | None = None) -> None:
        """Note that nothing more happens in a trace. Guarantees: idempotent."""


@runtime_checkable
class SupportsSweep(Protocol):
    """Removes what its retention has no time for any more."""

    async def sweep(self) -> object:
        """Apply the retention once; what it gives says what was removed.

        Guarantees: harmless when several processes do it at once, and when it is broken off.
        """


@runtime_checkable
class SupportsPlannerState(Protocol):
    """Keeps paused planners."""

    async def save_planner_state(self, token: str, payload: dict[str, Any]) -> None:
        """Keep the payload under the token."""

    async def load_planner_state(self, token: str) -> dict[str, Any] | None:
        """Take the payload out: a second load gives None, as does an unknown token."""


@runtime_checkable
class SupportsMemoryState(Protocol):
    """Keeps memory under a key."""

    async def save_memory_state(self, key: str, state: dict[str, Any]) -> None:
        """Create or replace the state."""

    async def load_memory_state(self, key: str) -> dict[str, Any] | None:
        """The state, or None."""


@runtime_checkable
class SupportsTasks(Protocol):
    """Keeps the tasks of a session and what they report."""

    async def save_task(self, state: TaskState) -> None:
        """Create or replace the task."""

    async def list_tasks(self, session_id: str) -> Sequence[TaskState]:
        """The tasks of a session, in the order in which they were created."""

    async def save_update(self, update: StateUpdate) -> None:
        """Append an update. Guarantees: idempotent by `update_id`."""

    async def list_updates(
        self,
        session_id: str,
        *,
        task_id: str | None = None,
        since_id: str | None = None,
        limit: int = 500,
    ) -> Sequence[StateUpdate]:
        """The last `limit` updates, oldest first.

        Args:
            session_id: The session.
            task_id: Only the updates of this task.
            since_id: Only what came after this update, of whatever task; ignored when unknown.
            limit: How many at most.
        """


@runtime_checkable
class SupportsSteering(Protocol):
    """Keeps the steering events of a session."""

    async def save_steering(self, event: SteeringEvent) -> None:
        """Append an event, sanitised. Guarantees: idempotent by `event_id`."""

    async def list_steering(
        self,
        session_id: str,
        *,
        task_id: str | None = None,
        since_id: str | None = None,
        limit: int = 500,
    ) -> Sequence[SteeringEvent]:
        """The last `limit` events, oldest first; arguments as of `SupportsTasks.list_updates`."""


@runtime_checkable
class SupportsTrajectories(Protocol):
    """Keeps trajectories. They are opaque to the store."""

    async def save_trajectory(self, trace_id: str, session_id: str, trajectory: Any) -> None:
        """Create or replace a trajectory."""

    async def get_trajectory(self, trace_id: str, session_id: str) -> Any | None:
        """The trajectory, or None."""

    async def list_traces(self, session_id: str, limit: int = 50) -> Sequence[str]:
        """The trace ids of a session's trajectories, newest first."""


@runtime_checkable
class SupportsPlannerEvents(Protocol):
    """Keeps planner events. They are opaque to the store."""

    async def save_planner_event(self, trace_id: str, event: Any) -> None:
        """Append an event."""

    async def list_planner_events(self, trace_id: str) -> Sequence[Any]:
        """The events of a trace, in the order in which they arrived."""


@runtime_checkable
class SupportsArtifacts(Protocol):
    """Has an artifact store."""

    @property
    def artifact_store(self) -> ArtifactStore | None:
        """The artifact store."""


@runtime_checkable
class SupportsConversationBindings(Protocol):
    """Finds bindings by conversation, so that a conversation goes on with the same remote task."""

    async def find_binding(
        self,
        *,
        router_session_id: str,
        agent_url: str,
        remote_skill: str | None,
        tenant_id: str | None = None,
        user_id: str | None = None,
    ) -> RemoteBinding | None:
        """The newest binding that is not terminal. None matches only None."""

    async def list_bindings(self, *, router_session_id: str) -> Sequence[RemoteBinding]:
        """All bindings of a conversation, oldest first."""

    async def mark_binding_terminal(
        self, *, trace_id: str, context_id: str | None, task_id: str
    ) -> None:
        """Note that the remote task has ended. Harmless when the binding is unknown."""


@runtime_checkable
class SupportsBindingTransfer(Protocol):
    """Hands remote tasks over from a process that died to one that lives.

    Guarantees: of several that take over at the same revision exactly one succeeds. Whoever
    writes a binding changes its revision, so a former owner's take-over and delete are refused.
    """

    async def find_bindings(
        self,
        *,
        trace_id: str | None = None,
        tenant_id: str | None = None,
        older_than: timedelta | None = None,
        include_terminal: bool = False,
    ) -> Sequence[HeldBinding]:
        """The bindings that match, the one untouched for longest first.

        Args:
            trace_id: Only of this trace.
            tenant_id: Only of this tenant; None matches all.
            older_than: Only those not written for this long, by the store's clock.
            include_terminal: Also those whose remote task has ended.
        """

    async def take_over_binding(
        self, binding: RemoteBinding, *, owner: str, expected_revision: int
    ) -> HeldBinding | None:
        """Become the owner of the binding with this key and tenant.

        Returns:
            The binding as the store has it now; None when it was written since the revision was
            read, or is gone.
        """

    async def delete_binding(
        self, binding: RemoteBinding, *, expected_revision: int | None = None
    ) -> bool:
        """Remove the binding with this key and tenant.

        Returns:
            Whether it was removed: not when it is unknown, or was written since the revision was
            read. Without a revision it is removed in any case.
        """


__all__ = [
    "StateStore",
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
]
