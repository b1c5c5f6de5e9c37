"""The promises of a store that keeps tasks, updates and steering events."""

from __future__ import annotations

from typing import Any

from penguiflow.state.tasks import (
    StateUpdate,
    SteeringEvent,
    SteeringEventType,
    TaskContextSnapshot,
    TaskState,
    TaskStatus,
    TaskType,
    UpdateType,
)
from penguiflow.steering.sanitize import MAX_STEERING_STRING
from penguiflow.testing.contract import Contract, check_equal, fresh, only


def task(session_id: str, task_id: str = "task", **changes: Any) -> TaskState:
    """A task of a session."""
    fields: dict[str, Any] = {
        "status": TaskStatus.RUNNING,
        "task_type": TaskType.BACKGROUND,
        "priority": 1,
        "context_snapshot": TaskContextSnapshot(session_id=session_id, task_id=task_id),
    }
    return TaskState(task_id=task_id, session_id=session_id, **{**fields, **changes})


def update(session_id: str, content: Any = None, task_id: str = "task") -> StateUpdate:
    """An update of a task."""
    return StateUpdate(
        session_id=session_id, task_id=task_id, update_type=UpdateType.PROGRESS, content=content
    )


def steering(session_id: str, text: str = "text", task_id: str = "task") -> SteeringEvent:
    """A steering event for a task."""
    return SteeringEvent(
        session_id=session_id,
        task_id=task_id,
        event_type=SteeringEventType.INJECT_CONTEXT,
        payload={"text": text},
    )


class TasksContract(Contract):
    """What `SupportsTasks` promises."""

    async def test_task_comes_back_as_it_was_saved(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            saved = task(session_id, result={"answer": [1]}, description="käse", trace_id="trace")
            await store.save_task(saved)
            check_equal(list(await store.list_tasks(session_id)), [saved], "all fields")

    async def test_saving_a_task_again_replaces_it(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            for status in (TaskStatus.RUNNING, TaskStatus.PAUSED, TaskStatus.RUNNING):
                await store.save_task(task(session_id, status=status))
            states = [each.status for each in await store.list_tasks(session_id)]
            check_equal(states, [TaskStatus.RUNNING], "one task, as saved last")

    async def test_sessions_do_not_share_tasks(self) -> None:
        async with self.open_store() as store:
            one, other = fresh("session"), fresh("session")
            await store.save_task(task(one, description="one"))
            await store.save_task(task(other, description="other"))
            found = [each.description for each in await store.list_tasks(one)]
            check_equal(found, ["one"], "equal task ids of two sessions are two tasks")

    async def test_saved_task_does_not_change_with_its_origin(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            saved = task(session_id)
            await store.save_task(saved)
            saved.update_status(TaskStatus.FAILED)
            found = only(await store.list_tasks(session_id), "one is stored")
            check_equal(found.status, TaskStatus.RUNNING, "the store keeps a copy")

    async def test_updates_come_back_oldest_first(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            saved = [update(session_id, content) for content in ("a", {"b": [1]}, None)]
            for each in saved:
                await store.save_update(each)
            check_equal(list(await store.list_updates(session_id)), saved, "in order of arrival")

    async def test_redelivered_update_is_stored_once(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            first, second = update(session_id, 1), update(session_id, 2)
            for each in (first, second, first):
                await store.save_update(each)
            check_equal(list(await store.list_updates(session_id)), [first, second], "by update_id")

    async def test_equal_updates_with_different_ids_are_two(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            for _ in range(2):
                await store.save_update(update(session_id, "same"))
            check_equal(len(await store.list_updates(session_id)), 2, "two updates")

    async def test_cursor_of_updates_is_exclusive(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            saved = [update(session_id, n) for n in range(3)]
            for each in saved:
                await store.save_update(each)
            found = await store.list_updates(session_id, since_id=saved[0].update_id)
            check_equal(list(found), saved[1:], "what came after the cursor")
            found = await store.list_updates(session_id, since_id=saved[-1].update_id)
            check_equal(list(found), [], "nothing came after the last")

    async def test_unknown_cursor_of_updates_is_ignored(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            await store.save_update(update(session_id))
            found = await store.list_updates(session_id, since_id=fresh("unknown"))
            check_equal(len(found), 1, "an unknown cursor hides nothing")

    async def test_cursor_may_be_an_update_of_another_task(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            saved = [update(session_id, n, task_id) for n, task_id in enumerate("aba")]
            for each in saved:
                await store.save_update(each)
            found = await store.list_updates(session_id, task_id="a", since_id=saved[1].update_id)
            check_equal(list(found), saved[2:], "first the cursor, then the task")

    async def test_last_updates_up_to_the_limit_come_back(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            saved = [update(session_id, n, task_id) for n, task_id in enumerate("aaab")]
            for each in saved:
                await store.save_update(each)
            found = await store.list_updates(session_id, task_id="a", limit=2)
            check_equal(list(found), saved[1:3], "the last of the task, oldest first")

    async def test_sessions_do_not_share_updates(self) -> None:
        async with self.open_store() as store:
            await store.save_update(update(fresh("session")))
            check_equal(list(await store.list_updates(fresh("session"))), [], "another session")


class SteeringContract(Contract):
    """What `SupportsSteering` promises."""

    async def test_steering_events_come_back_oldest_first(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            saved = [steering(session_id, text) for text in "ba"]
            for each in saved:
                await store.save_steering(each)
            check_equal(list(await store.list_steering(session_id)), saved, "in order of arrival")

    async def test_redelivered_steering_event_is_stored_once(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            saved = steering(session_id)
            for _ in range(2):
                await store.save_steering(saved)
            check_equal(list(await store.list_steering(session_id)), [saved], "by event_id")

    async def test_steering_events_are_stored_sanitised(self) -> None:
        async with self.open_store() as store:
            saved = steering(fresh("session"), "x" * (MAX_STEERING_STRING + 1))
            await store.save_steering(saved)
            found = only(await store.list_steering(saved.session_id), "one is stored")
            check_equal(found.payload, {"text": "x" * MAX_STEERING_STRING}, "cut to its limits")
            length = len(saved.payload["text"])
            check_equal(length, MAX_STEERING_STRING + 1, "the caller's event is left alone")

    async def test_cursor_task_and_limit_select_steering_events(self) -> None:
        async with self.open_store() as store:
            session_id = fresh("session")
            saved = [steering(session_id, str(n), task_id) for n, task_id in enumerate("abaaa")]
            for each in saved:
                await store.save_steering(each)
            found = await store.list_steering(
                session_id, task_id="a", since_id=saved[1].event_id, limit=2
            )
            check_equal(list(found), saved[3:], "after the cursor, of the task, the last two")

    async def test_sessions_do_not_share_steering_events(self) -> None:
        async with self.open_store() as store:
            await store.save_steering(steering(fresh("session")))
            check_equal(list(await store.list_steering(fresh("session"))), [], "another session")
