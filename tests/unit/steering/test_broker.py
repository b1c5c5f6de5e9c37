from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow.sessions import UpdateBroker
from penguiflow.state import StateUpdate, UpdateType

URGENT = {UpdateType.RESULT, UpdateType.ERROR, UpdateType.NOTIFICATION, UpdateType.STATUS_CHANGE}


def update(kind: UpdateType = UpdateType.PROGRESS, task_id: str = "task") -> StateUpdate:
    return StateUpdate(session_id="s", task_id=task_id, update_type=kind, content=None)


def content(queue: asyncio.Queue[Any]) -> list[Any]:
    return [queue.get_nowait() for _ in range(queue.qsize())]


async def test_every_subscriber_hears_every_update() -> None:
    broker = UpdateBroker()
    first, _ = await broker.subscribe()
    second, _ = await broker.subscribe()
    sent = [update(), update()]
    for each in sent:
        broker.publish(each)
    assert content(first) == sent
    assert content(second) == sent


async def test_publishing_without_subscribers_is_fine() -> None:
    UpdateBroker().publish(update())


async def test_subscriber_hears_only_of_its_tasks() -> None:
    broker = UpdateBroker()
    queue, _ = await broker.subscribe(task_ids=["a", "b"])
    sent = [update(task_id=task_id) for task_id in "abc"]
    for each in sent:
        broker.publish(each)
    assert content(queue) == sent[:2]


async def test_subscriber_hears_only_its_types() -> None:
    broker = UpdateBroker()
    queue, _ = await broker.subscribe(update_types={UpdateType.RESULT})
    result = update(UpdateType.RESULT)
    for each in (update(), result):
        broker.publish(each)
    assert content(queue) == [result]


async def test_empty_selection_is_not_everything() -> None:
    broker = UpdateBroker()
    queue, _ = await broker.subscribe(task_ids=[])
    broker.publish(update())
    assert content(queue) == []


async def test_nothing_is_heard_after_unsubscribing() -> None:
    broker = UpdateBroker()
    queue, unsubscribe = await broker.subscribe()
    await unsubscribe()
    await unsubscribe()
    broker.publish(update())
    assert content(queue) == []


@pytest.mark.parametrize("kind", UpdateType)
async def test_urgent_updates_evict_the_oldest_and_others_are_dropped(kind: UpdateType) -> None:
    broker = UpdateBroker(max_queue_size=2)
    queue, _ = await broker.subscribe()
    first, second, third = update(), update(), update(kind)
    for each in (first, second, third):
        broker.publish(each)
    assert content(queue) == ([second, third] if kind in URGENT else [first, second])


async def test_queue_is_unbounded_by_default() -> None:
    broker = UpdateBroker()
    queue, _ = await broker.subscribe()
    for _ in range(1000):
        broker.publish(update())
    assert queue.qsize() == 1000
