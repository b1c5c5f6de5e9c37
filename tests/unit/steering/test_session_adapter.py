from __future__ import annotations

from typing import Any

import pytest

from penguiflow import sessions
from penguiflow.sessions import (
    InMemorySessionStateStore,
    SessionStateStore,
    StateStoreSessionAdapter,
)
from penguiflow.state import InMemoryStateStore, TaskStatus, models
from penguiflow.testing import VirtualClock
from penguiflow.testing.session_contract import steering, task, update


@pytest.mark.parametrize(
    "store",
    [
        InMemorySessionStateStore(),
        InMemoryStateStore(),
        StateStoreSessionAdapter(InMemoryStateStore()),
    ],
)
def test_store_keeps_sessions(store: object) -> None:
    assert isinstance(store, SessionStateStore)


def test_session_models_are_the_models_of_the_state() -> None:
    for name in sessions.models.__all__:
        assert getattr(sessions.models, name) is getattr(models, name)
        assert getattr(sessions, name) is getattr(models, name)


async def test_session_is_kept_as_events_of_its_own_trace() -> None:
    store = InMemoryStateStore()
    adapter = StateStoreSessionAdapter(store, clock=VirtualClock(start=5.0))
    state, news, event = task("s", "t1"), update("s", 1, "t2"), steering("s", "text", "t3")
    await adapter.save_task(state)
    await adapter.save_update(news)
    await adapter.save_steering(event)
    history = await store.load_history("session:s")
    assert [(each.kind, each.node_id, each.ts) for each in history] == [
        ("session.task", "t1", 5.0),
        ("session.update", "t2", 5.0),
        ("session.steering", "t3", 5.0),
    ]
    assert history[1].payload["update_id"] == news.update_id
    assert history[2].payload["payload"] == {"text": "text"}


async def test_version_of_a_task_that_comes_back_is_the_last_one() -> None:
    adapter = StateStoreSessionAdapter(InMemoryStateStore(), clock=VirtualClock())
    running = task("s")
    paused = task("s", status=TaskStatus.PAUSED)
    for state in (running, paused, running):
        await adapter.save_task(state)
    assert await adapter.list_tasks("s") == [running]


async def test_result_that_json_does_not_know_is_kept_as_text() -> None:
    adapter = StateStoreSessionAdapter(InMemoryStateStore())
    await adapter.save_task(task("s", result={"error": ValueError("no")}))
    (found,) = await adapter.list_tasks("s")
    assert found.result == {"error": "no"}


async def test_foreign_events_of_the_session_are_left_alone() -> None:
    store = InMemoryStateStore()
    foreign = models.StoredEvent("session:s", 1.0, "other", None, None, {})
    await store.save_event(foreign)
    adapter = StateStoreSessionAdapter(store)
    found: list[Any] = [
        *await adapter.list_tasks("s"),
        *await adapter.list_updates("s"),
        *await adapter.list_steering("s"),
    ]
    assert found == []


async def test_oldest_items_of_a_session_are_dropped() -> None:
    store = InMemorySessionStateStore(max_updates_per_session=1, max_steering_events_per_session=1)
    updates, events = [update("s") for _ in range(2)], [steering("s") for _ in range(2)]
    for news, event in zip(updates, events, strict=True):
        await store.save_update(news)
        await store.save_steering(event)
    assert await store.list_updates("s") == updates[1:]
    assert await store.list_steering("s") == events[1:]


async def test_cleared_session_is_empty() -> None:
    store = InMemorySessionStateStore()
    for session in ("a", "b"):
        await store.save_task(task(session))
        await store.save_update(update(session))
        await store.save_steering(steering(session))
    store.clear_session("a")
    assert await store.list_tasks("a") == []
    assert await store.list_updates("a") == []
    assert await store.list_steering("a") == []
    assert len(await store.list_tasks("b")) == 1
    store.clear()
    assert await store.list_tasks("b") == []
