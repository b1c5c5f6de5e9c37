"""Tasks, updates and steering events of a state store."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from penguiflow.state.protocols import SupportsSteering, SupportsTasks
from penguiflow.state.tasks import StateUpdate, SteeringEvent, TaskState, TaskStateModel
from penguiflow.steering.sanitize import sanitize_steering_event
from penguiflow_nats import state_keys as keys
from penguiflow_nats.series import read_series
from penguiflow_nats.state_codec import pack_model, unpack_model
from penguiflow_nats.state_part import StatePart

T = TypeVar("T", StateUpdate, SteeringEvent)


class StateTasks(StatePart, SupportsTasks, SupportsSteering):
    """What belongs to sessions. Every method raises `NatsError` when it is not confirmed, and
    `NotEncodable` or `MalformedValue` for values of types that cannot travel."""

    # Tasks

    async def save_task(self, state: TaskState) -> None:
        """Create or replace the task."""
        model = TaskStateModel.from_state(state)
        ttl = self._room.retention.tasks
        place = f"{keys.session(state.session_id)}.{keys.part(state.task_id)}"
        # A task moves in the bucket with every save; a key of its own keeps where it began.
        await self._room.once(f"to.{place}", b"", ttl=ttl)
        await self._room.put(f"ta.{place}", pack_model(model), ttl=ttl)

    async def list_tasks(self, session_id: str) -> list[TaskState]:
        """The tasks of a session, in the order in which they were created."""
        kv = await self._room.open()
        session = keys.session(session_id)
        found = await kv.read([f"to.{session}.*", f"ta.{session}.*"])
        began = {entry.key[3:]: entry.revision for entry in found if entry.key.startswith("to.")}
        tasks = [entry for entry in found if entry.key.startswith("ta.")]
        tasks.sort(key=lambda entry: began.get(entry.key[3:], entry.revision))
        values = [await self._room.claims.value(entry) for entry in tasks]
        return [unpack_model(TaskStateModel, value).to_state() for value in values]

    # Updates

    async def save_update(self, update: StateUpdate) -> None:
        """Append an update, once by its `update_id`."""
        series = keys.updates(update.session_id, update.task_id)
        key = keys.entry_of(series, keys.named(update.update_id))
        await self._room.once(key, pack_model(update), ttl=self._room.retention.updates)

    async def list_updates(
        self,
        session_id: str,
        *,
        task_id: str | None = None,
        since_id: str | None = None,
        limit: int = 500,
    ) -> list[StateUpdate]:
        """The last `limit` updates, oldest first; arguments as of `SupportsTasks`."""
        series = keys.updates(session_id, task_id)
        everybody = keys.updates(session_id)
        return await self._list(StateUpdate, series, everybody, since_id, limit)

    # Steering

    async def save_steering(self, event: SteeringEvent) -> None:
        """Append an event, sanitised, once by its `event_id`."""
        series = keys.steering(event.session_id, event.task_id)
        key = keys.entry_of(series, keys.named(event.event_id))
        value = pack_model(sanitize_steering_event(event))
        await self._room.once(key, value, ttl=self._room.retention.steering)

    async def list_steering(
        self,
        session_id: str,
        *,
        task_id: str | None = None,
        since_id: str | None = None,
        limit: int = 500,
    ) -> list[SteeringEvent]:
        """The last `limit` events, oldest first; arguments as of `SupportsTasks.list_updates`."""
        series = keys.steering(session_id, task_id)
        everybody = keys.steering(session_id)
        return await self._list(SteeringEvent, series, everybody, since_id, limit)

    async def _list(
        self, kind: type[T], series: str, everybody: str, since_id: str | None, limit: int
    ) -> list[T]:
        kv = await self._room.open()
        after = 0
        if since_id is not None:
            # The cursor may belong to any task: it is found by its own key, and the rest is not
            # even read.
            cursor = await kv.entry(keys.entry_of(everybody, keys.named(since_id)))
            after = 0 if cursor is None or cursor.removed else cursor.revision
        entries = await read_series(kv, series, after=after)
        entries = entries[-limit:] if limit > 0 else []
        values = [await self._room.claims.value(entry) for entry in entries]
        return [unpack_model(kind, value) for value in values]

    async def clear_session(self, session_id: str) -> None:
        """Forget a session's tasks, updates, steering events and trajectories."""
        kv = await self._room.open()
        session = keys.session(session_id)
        kinds = ("ta", "to", "up", "st", "tj", "ti")
        await asyncio.gather(*(kv.purge(f"{kind}.{session}.>") for kind in kinds))


__all__ = ["StateTasks"]
