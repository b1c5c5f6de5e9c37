"""Tasks, updates and steering events in this process."""

from __future__ import annotations

import copy

from penguiflow.artifacts.done import DONE, Done
from penguiflow.state.paging import Ledger
from penguiflow.state.protocols import SupportsSteering, SupportsTasks
from penguiflow.state.tasks import StateUpdate, SteeringEvent, TaskState
from penguiflow.steering.sanitize import sanitize_steering_event


class InMemorySessionStateStore(SupportsTasks, SupportsSteering):
    """Sessions in memory. Gives copies; beyond a limit the oldest goes; zero or less is none."""

    def __init__(
        self,
        *,
        max_updates_per_session: int = 10_000,
        max_steering_events_per_session: int = 10_000,
    ) -> None:
        self._tasks: dict[str, dict[str, TaskState]] = {}
        self._updates = Ledger[StateUpdate](
            max_updates_per_session, lambda update: update.update_id
        )
        self._steering = Ledger[SteeringEvent](
            max_steering_events_per_session, lambda event: event.event_id
        )

    async def save_task(self, state: TaskState) -> None:
        self._tasks.setdefault(state.session_id, {})[state.task_id] = copy.deepcopy(state)

    async def list_tasks(self, session_id: str) -> list[TaskState]:
        return [copy.deepcopy(state) for state in self._tasks.get(session_id, {}).values()]

    async def save_update(self, update: StateUpdate) -> None:
        self._updates.add(update.session_id, update.model_copy(deep=True))

    async def list_updates(
        self,
        session_id: str,
        *,
        task_id: str | None = None,
        since_id: str | None = None,
        limit: int = 500,
    ) -> list[StateUpdate]:
        page = self._updates.page(session_id, task_id=task_id, since_id=since_id, limit=limit)
        return [update.model_copy(deep=True) for update in page]

    async def save_steering(self, event: SteeringEvent) -> None:
        self._steering.add(event.session_id, sanitize_steering_event(event))

    async def list_steering(
        self,
        session_id: str,
        *,
        task_id: str | None = None,
        since_id: str | None = None,
        limit: int = 500,
    ) -> list[SteeringEvent]:
        page = self._steering.page(session_id, task_id=task_id, since_id=since_id, limit=limit)
        return [event.model_copy(deep=True) for event in page]

    def clear_session(self, session_id: str) -> Done:
        """Forget a session."""
        self._tasks.pop(session_id, None)
        self._updates.clear_session(session_id)
        self._steering.clear_session(session_id)
        return DONE

    def clear(self) -> Done:
        """Forget everything."""
        self._tasks.clear()
        self._updates.clear()
        self._steering.clear()
        return DONE
