"""A state store in this process, with every capability: for tests and development."""

from __future__ import annotations

import copy
from collections import OrderedDict, deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from penguiflow.artifacts.done import DONE, Done
from penguiflow.artifacts.in_memory import PlaygroundArtifactStore
from penguiflow.artifacts.models import ArtifactRetentionConfig
from penguiflow.clock import SYSTEM_CLOCK, Clock
from penguiflow.state.binding_table import BindingTable
from penguiflow.state.copies import opaque_copy
from penguiflow.state.event_log import EventLog, trace_key
from penguiflow.state.in_memory_sessions import InMemorySessionStateStore
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
    SupportsTenantHistory,
    SupportsTrajectories,
)
from penguiflow.state.records import (
    SESSION_TRACE_PREFIX,
    HeldBinding,
    RemoteBinding,
    StoredEvent,
)
from penguiflow.state.tasks import StateUpdate


class InMemoryStateStore(
    InMemorySessionStateStore,
    StateStore,
    SupportsArtifacts,
    SupportsBindingTransfer,
    SupportsBulkEvents,
    SupportsConversationBindings,
    SupportsMemoryState,
    SupportsPlannerEvents,
    SupportsPlannerState,
    SupportsRetention,
    SupportsTenantHistory,
    SupportsTrajectories,
):
    """Everything in memory.

    It keeps and gives copies. Beyond a limit the oldest goes; zero or less is no limit. Events
    without a trace are kept as the trace "__global__".
    """

    def __init__(
        self,
        *,
        max_events_per_trace: int = 50_000,
        max_updates_per_session: int = 10_000,
        max_steering_events_per_session: int = 10_000,
        max_planner_events_per_trace: int = 50_000,
        artifact_retention: ArtifactRetentionConfig | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(
            max_updates_per_session=max_updates_per_session,
            max_steering_events_per_session=max_steering_events_per_session,
        )
        self._clock = clock
        self._events = EventLog(max_events_per_trace)
        self._last_write: dict[str, float] = {}
        self._bindings = BindingTable()
        self._max_planner_events = max(max_planner_events_per_trace, 0) or None
        self._planner_events: dict[str, deque[Any]] = {}
        self._planner_states: dict[str, dict[str, Any]] = {}
        self._memory: dict[str, dict[str, Any]] = {}
        self._trajectories: dict[str, OrderedDict[str, Any]] = {}
        self._artifacts = PlaygroundArtifactStore(artifact_retention, clock=clock)

    # Events

    async def save_event(self, event: StoredEvent) -> None:
        self._events.add(event)
        self._last_write[trace_key(event.trace_id)] = self._clock.monotonic()

    async def save_events(self, events: Sequence[StoredEvent]) -> None:
        for event in events:
            await self.save_event(event)

    async def load_history(self, trace_id: str) -> list[StoredEvent]:
        return self._events.history(trace_key(trace_id))

    async def load_tenant_history(self, trace_id: str, *, tenant: str) -> list[StoredEvent]:
        return self._events.history(trace_key(trace_id), tenant=tenant)

    async def delete_trace(self, trace_id: str, *, tenant: str | None = None) -> bool:
        found = self._events.delete(trace_id, tenant=tenant)
        found |= self._bindings.delete_where(
            lambda binding: binding.trace_id == trace_id and tenant in (None, binding.tenant_id)
        )
        if trace_id not in self._events:
            self._last_write.pop(trace_id, None)
            # Planner events have no tenant: they stay as long as anybody has this trace.
            found |= self._planner_events.pop(trace_id, None) is not None
        return found

    async def expire_traces(self, *, older_than: timedelta) -> int:
        latest = self._clock.monotonic() - older_than.total_seconds()
        live = set(self._bindings.live_traces())
        old = [name for name, at in self._last_write.items() if at < latest and name not in live]
        for trace_id in old:
            await self.delete_trace(trace_id)
        return len(old)

    # Planner, memory, trajectories

    async def save_planner_state(self, token: str, payload: dict[str, Any]) -> None:
        self._planner_states[token] = copy.deepcopy(payload)

    async def load_planner_state(self, token: str) -> dict[str, Any] | None:
        return self._planner_states.pop(token, None)

    async def save_planner_event(self, trace_id: str, event: Any) -> None:
        key = trace_key(trace_id)
        events = self._planner_events.setdefault(key, deque(maxlen=self._max_planner_events))
        events.append(opaque_copy(event))
        self._last_write[key] = self._clock.monotonic()

    async def list_planner_events(self, trace_id: str) -> list[Any]:
        return [opaque_copy(event) for event in self._planner_events.get(trace_key(trace_id), ())]

    async def save_memory_state(self, key: str, state: dict[str, Any]) -> None:
        self._memory[key] = copy.deepcopy(state)

    async def load_memory_state(self, key: str) -> dict[str, Any] | None:
        return copy.deepcopy(self._memory.get(key))

    async def save_trajectory(self, trace_id: str, session_id: str, trajectory: Any) -> None:
        kept = self._trajectories.setdefault(session_id, OrderedDict())
        kept[trace_id] = opaque_copy(trajectory)
        kept.move_to_end(trace_id)

    async def get_trajectory(self, trace_id: str, session_id: str) -> Any | None:
        kept = self._trajectories.get(session_id)
        return None if kept is None else opaque_copy(kept.get(trace_id))

    async def list_traces(self, session_id: str, limit: int = 50) -> list[str]:
        newest_first = list(reversed(self._trajectories.get(session_id, {})))
        return newest_first[: max(limit, 0)]

    # Bindings

    async def save_remote_binding(self, binding: RemoteBinding) -> None:
        self._bindings.save(binding, now=self._clock.now())

    async def find_binding(
        self,
        *,
        router_session_id: str,
        agent_url: str,
        remote_skill: str | None,
        tenant_id: str | None = None,
        user_id: str | None = None,
    ) -> RemoteBinding | None:
        wanted = (router_session_id, agent_url, remote_skill, tenant_id, user_id)
        found = self._bindings.find(
            lambda each: (
                not each.is_terminal
                and wanted
                == (
                    each.router_session_id,
                    each.agent_url,
                    each.remote_skill,
                    each.tenant_id,
                    each.user_id,
                )
            )
        )
        return found[-1] if found else None

    async def list_bindings(self, *, router_session_id: str) -> list[RemoteBinding]:
        return self._bindings.find(lambda each: each.router_session_id == router_session_id)

    async def mark_binding_terminal(
        self,
        *,
        trace_id: str,
        context_id: str | None,
        task_id: str,
        tenant_id: str | None = None,
    ) -> None:
        self._bindings.mark_terminal(
            trace_id=trace_id,
            context_id=context_id,
            task_id=task_id,
            tenant_id=tenant_id,
            now=self._clock.now(),
        )

    async def find_bindings(
        self,
        *,
        trace_id: str | None = None,
        tenant_id: str | None = None,
        older_than: timedelta | None = None,
        include_terminal: bool = False,
    ) -> list[HeldBinding]:
        return self._bindings.held(
            trace_id=trace_id,
            tenant_id=tenant_id,
            older_than=older_than,
            include_terminal=include_terminal,
            now=self._clock.now(),
        )

    async def take_over_binding(
        self, binding: RemoteBinding, *, owner: str, expected_revision: int
    ) -> HeldBinding | None:
        return self._bindings.take_over(
            binding, owner=owner, expected_revision=expected_revision, now=self._clock.now()
        )

    async def delete_binding(
        self, binding: RemoteBinding, *, expected_revision: int | None = None
    ) -> bool:
        return self._bindings.delete(binding, expected_revision=expected_revision)

    # Artifacts

    @property
    def artifact_store(self) -> PlaygroundArtifactStore:
        """The artifacts of this store's sessions."""
        return self._artifacts

    # Former names

    async def save_task_update(self, update: StateUpdate) -> None:
        """Former name of `save_update`."""
        await self.save_update(update)

    async def list_task_updates(
        self,
        session_id: str,
        *,
        task_id: str | None = None,
        since_id: str | None = None,
        limit: int = 500,
    ) -> list[StateUpdate]:
        """Former name of `list_updates`."""
        return await self.list_updates(session_id, task_id=task_id, since_id=since_id, limit=limit)

    async def get_events(self, trace_id: str) -> list[Any]:
        """Former name of `list_planner_events`."""
        return await self.list_planner_events(trace_id)

    # Forgetting

    def clear_session(self, session_id: str) -> Done:
        """Forget a session: all that is kept under its id, and its own history."""
        super().clear_session(session_id)
        self._trajectories.pop(session_id, None)
        self._bindings.delete_where(lambda binding: binding.router_session_id == session_id)
        self._artifacts.clear_session(session_id)
        own_history = f"{SESSION_TRACE_PREFIX}{session_id}"
        self._events.delete(own_history)
        self._last_write.pop(own_history, None)
        return DONE

    def clear(self) -> Done:
        """Forget everything."""
        super().clear()
        self._events.clear()
        self._bindings.clear()
        self._artifacts.clear()
        for kept in (
            self._last_write,
            self._planner_events,
            self._planner_states,
            self._memory,
            self._trajectories,
        ):
            kept.clear()
        return DONE


__all__ = ["InMemoryStateStore", "PlaygroundArtifactStore"]
