"""Sessions kept as events of a state store that has no tasks of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import uuid4

from pydantic import BaseModel

from penguiflow.clock import SYSTEM_CLOCK, Clock
from penguiflow.state.paging import last_page
from penguiflow.state.protocols import StateStore
from penguiflow.state.records import SESSION_TRACE_PREFIX, StoredEvent
from penguiflow.state.tasks import StateUpdate, SteeringEvent, TaskState, TaskStateModel
from penguiflow.steering.sanitize import sanitize_steering_event

TASK_KIND = "session.task"
UPDATE_KIND = "session.update"
STEERING_KIND = "session.steering"

M = TypeVar("M", bound=BaseModel)


class StateStoreSessionAdapter:
    """A `SessionStateStore` on top of any `StateStore`.

    Everything is an event of the trace `session:<id>`, its `node_id` the task. The event of an
    update or a steering event has the same id, so that a redelivered one is stored once. Each
    save of a task is an event of its own: the last one saved is the task.
    """

    def __init__(self, store: StateStore, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._store = store
        self._clock = clock

    async def save_task(self, state: TaskState) -> None:
        """Save a version of the task."""
        # Two versions may say the same with another in between, so the content is no identity.
        await self._save(
            TASK_KIND,
            state.session_id,
            state.task_id,
            uuid4().hex,
            TaskStateModel.from_state(state),
        )

    async def list_tasks(self, session_id: str) -> list[TaskState]:
        """The last version of each task, in the order in which they were created."""
        tasks: dict[str, TaskState] = {}
        for model in await self._load(TASK_KIND, session_id, TaskStateModel):
            tasks[model.task_id] = model.to_state()
        return list(tasks.values())

    async def save_update(self, update: StateUpdate) -> None:
        """Append an update."""
        await self._save(UPDATE_KIND, update.session_id, update.task_id, update.update_id, update)

    async def list_updates(
        self,
        session_id: str,
        *,
        task_id: str | None = None,
        since_id: str | None = None,
        limit: int = 500,
    ) -> list[StateUpdate]:
        """As `SupportsTasks.list_updates`."""
        updates: dict[str, StateUpdate] = {}
        for update in await self._load(UPDATE_KIND, session_id, StateUpdate):
            updates.setdefault(update.update_id, update)
        return last_page(
            updates.values(),
            lambda update: update.update_id,
            task_id=task_id,
            since_id=since_id,
            limit=limit,
        )

    async def save_steering(self, event: SteeringEvent) -> None:
        """Append a steering event, sanitised."""
        clean = sanitize_steering_event(event)
        await self._save(STEERING_KIND, clean.session_id, clean.task_id, clean.event_id, clean)

    async def list_steering(
        self,
        session_id: str,
        *,
        task_id: str | None = None,
        since_id: str | None = None,
        limit: int = 500,
    ) -> list[SteeringEvent]:
        """As `SupportsSteering.list_steering`."""
        events: dict[str, SteeringEvent] = {}
        for event in await self._load(STEERING_KIND, session_id, SteeringEvent):
            events.setdefault(event.event_id, event)
        return last_page(
            events.values(),
            lambda event: event.event_id,
            task_id=task_id,
            since_id=since_id,
            limit=limit,
        )

    async def _save(
        self, kind: str, session_id: str, task_id: str, item_id: str, model: BaseModel
    ) -> None:
        payload: dict[str, Any] = model.model_dump(mode="json", fallback=str)
        await self._store.save_event(
            StoredEvent(
                trace_id=f"{SESSION_TRACE_PREFIX}{session_id}",
                ts=self._clock.now(),
                kind=kind,
                node_name=None,
                node_id=task_id,
                payload=payload,
                event_id=f"{kind}:{item_id}",
            )
        )

    async def _load(self, kind: str, session_id: str, model: type[M]) -> Sequence[M]:
        history = await self._store.load_history(f"{SESSION_TRACE_PREFIX}{session_id}")
        return [model.model_validate(event.payload) for event in history if event.kind == kind]


__all__ = ["STEERING_KIND", "TASK_KIND", "UPDATE_KIND", "StateStoreSessionAdapter"]
