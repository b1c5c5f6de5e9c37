"""Planner state, planner events, memory and trajectories."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from penguiflow.state.protocols import (
    SupportsMemoryState,
    SupportsPlannerEvents,
    SupportsPlannerState,
    SupportsTrajectories,
)
from penguiflow_nats import state_keys as keys
from penguiflow_nats.object_errors import ObjectCorrupt
from penguiflow_nats.series import read_series
from penguiflow_nats.state_codec import pack, pack_opaque, unpack, unpack_opaque
from penguiflow_nats.state_part import StatePart


class StatePlanner(
    StatePart,
    SupportsPlannerState,
    SupportsPlannerEvents,
    SupportsMemoryState,
    SupportsTrajectories,
):
    """What planners leave for later. Every method raises `NatsError` when it is not confirmed, and
    `NotEncodable` or `MalformedValue` for values of types that cannot travel."""

    # Planner state

    async def save_planner_state(self, token: str, payload: dict[str, Any]) -> None:
        """Keep the payload under the token."""
        ttl = self._room.retention.planner_state
        await self._room.put(keys.planner_state(token), pack(payload), ttl=ttl)

    async def load_planner_state(self, token: str) -> dict[str, Any] | None:
        """Take the payload out. Of many that load one token at once, exactly one gets it."""
        key = keys.planner_state(token)
        kv = await self._room.open()
        while True:
            try:
                found = await self._room.load(key)
            except ObjectCorrupt:
                if await kv.get(key) is None:
                    return None  # taken out between the two reads
                raise
            if found is None:
                return None
            entry, value = found
            # The delete is refused to all but the first, and to a lost receipt's repetition it is
            # known again: so the payload is handed out once, whatever fails in between.
            if await kv.delete(key, revision=entry.revision):
                await self._room.claims.release(entry)
                payload: dict[str, Any] = unpack(value)
                return payload

    # Planner events

    async def save_planner_event(self, trace_id: str, event: Any) -> None:
        """Append an event. Its type may be any that can travel, or that serialises itself."""
        await self._room.tell(lambda: self._save_planner_event(trace_id, event, uuid4().hex))

    async def _save_planner_event(self, trace_id: str, event: Any, identity: str) -> None:
        # The identity is this call's: repeating it while the server is away stores one event.
        key = keys.entry_of(keys.planner_events(trace_id), identity)
        ttl = self._room.retention.planner_events
        await self._room.once(key, pack_opaque(event), ttl=ttl)

    async def list_planner_events(self, trace_id: str) -> list[Any]:
        """The events of a trace, in the order in which they arrived."""
        kv = await self._room.open()
        entries = await read_series(kv, keys.planner_events(trace_id))
        return [unpack_opaque(await self._room.claims.value(entry)) for entry in entries]

    # Memory

    async def save_memory_state(self, key: str, state: dict[str, Any]) -> None:
        """Create or replace the state."""
        await self._room.put(keys.memory(key), pack(state), ttl=self._room.retention.memory)

    async def load_memory_state(self, key: str) -> dict[str, Any] | None:
        """The state, or None."""
        found = await self._room.load(keys.memory(key))
        if found is None:
            return None
        state: dict[str, Any] = unpack(found[1])
        return state

    # Trajectories

    async def save_trajectory(self, trace_id: str, session_id: str, trajectory: Any) -> None:
        """Create or replace a trajectory; it becomes the newest of its session."""
        ttl = self._room.retention.trajectories
        value = pack_opaque(trajectory)
        await self._room.put(keys.trajectory(session_id, trace_id), value, ttl=ttl)
        # Trajectories may be large, so the list of them is kept apart.
        listed = pack({"trace_id": trace_id})
        await self._room.put(keys.trajectory_listed(session_id, trace_id), listed, ttl=ttl)

    async def get_trajectory(self, trace_id: str, session_id: str) -> Any | None:
        """The trajectory, or None."""
        found = await self._room.load(keys.trajectory(session_id, trace_id))
        return None if found is None else unpack_opaque(found[1])

    async def list_traces(self, session_id: str, limit: int = 50) -> list[str]:
        """The trace ids of a session's trajectories, newest first."""
        kv = await self._room.open()
        listed = await kv.read([keys.trajectory_listed(session_id, None)])
        newest_first = [unpack(entry.value)["trace_id"] for entry in reversed(listed)]
        return newest_first[: max(limit, 0)]


__all__ = ["StatePlanner"]
