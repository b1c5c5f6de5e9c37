from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow import steering
from penguiflow.state import SteeringEvent, SteeringEventType
from penguiflow.steering import SteeringCancelled, SteeringInbox
from penguiflow.testing.clock import come_to_rest


def event(kind: str, **payload: Any) -> SteeringEvent:
    return SteeringEvent(
        session_id="s", task_id="t", event_type=SteeringEventType(kind), payload=payload
    )


def test_everything_is_in_the_package_and_its_module() -> None:
    assert steering.__all__ == steering.steering.__all__


async def test_events_come_out_in_order() -> None:
    inbox = SteeringInbox()
    assert not inbox.has_event()
    first, second = event("REDIRECT", goal="a"), event("CANCEL")
    assert await inbox.push(first)
    assert await inbox.push(second)
    assert inbox.has_event()
    assert [await inbox.next(), await inbox.next()] == [first, second]
    assert not inbox.has_event()


async def test_next_waits_for_an_event() -> None:
    inbox = SteeringInbox()
    waiting = asyncio.create_task(inbox.next())
    await come_to_rest()
    assert not waiting.done()
    pushed = event("REDIRECT", goal="a")
    await inbox.push(pushed)
    assert await waiting == pushed


async def test_drain_takes_everything() -> None:
    inbox, events = SteeringInbox(), [event("REDIRECT", goal=str(n)) for n in range(3)]
    for each in events:
        await inbox.push(each)
    assert inbox.drain() == events
    assert inbox.drain() == []


async def test_full_inbox_refuses() -> None:
    inbox = SteeringInbox(maxsize=2)
    accepted = [await inbox.push(event("REDIRECT", goal="a")) for _ in range(3)]
    assert accepted == [True, True, False]


async def test_too_many_user_messages_are_refused_and_other_events_are_not() -> None:
    inbox = SteeringInbox(max_pending_user_messages=2)
    accepted = [await inbox.push(event("USER_MESSAGE", text="a")) for _ in range(3)]
    assert accepted == [True, True, False]
    assert await inbox.push(event("REDIRECT", goal="a"))


async def test_user_message_taken_by_next_is_not_counted_any_more() -> None:
    inbox = SteeringInbox(max_pending_user_messages=1)
    for _ in range(3):
        assert await inbox.push(event("USER_MESSAGE", text="a"))
        await inbox.next()


async def test_user_message_taken_by_drain_is_not_counted_any_more() -> None:
    inbox = SteeringInbox(max_pending_user_messages=1)
    await inbox.push(event("USER_MESSAGE", text="a"))
    inbox.drain()
    assert await inbox.push(event("USER_MESSAGE", text="a"))


async def test_user_message_refused_by_a_full_inbox_is_not_counted() -> None:
    inbox = SteeringInbox(maxsize=1, max_pending_user_messages=1)
    await inbox.push(event("REDIRECT", goal="a"))
    assert not await inbox.push(event("USER_MESSAGE", text="a"))
    inbox.drain()
    assert await inbox.push(event("USER_MESSAGE", text="a"))


async def test_cancel_is_known_at_once() -> None:
    inbox = SteeringInbox()
    assert (inbox.cancelled, inbox.cancel_reason) == (False, None)
    assert not inbox.cancel_event.is_set()
    await inbox.push(event("CANCEL", reason="enough"))
    assert (inbox.cancelled, inbox.cancel_reason) == (True, "enough")
    assert inbox.cancel_event.is_set()


async def test_first_cancel_gives_the_reason() -> None:
    inbox = SteeringInbox()
    await inbox.push(event("CANCEL"))
    await inbox.push(event("CANCEL", reason="late"))
    assert inbox.cancel_reason == "cancelled"


async def test_control_events_act_at_a_full_inbox() -> None:
    inbox = SteeringInbox(maxsize=1)
    await inbox.push(event("REDIRECT", goal="a"))
    assert not await inbox.push(event("PAUSE"))
    assert inbox.paused
    assert not await inbox.push(event("RESUME"))
    assert not inbox.paused
    assert not await inbox.push(event("CANCEL", reason="enough"))
    assert inbox.cancelled


async def test_running_task_does_not_wait() -> None:
    await SteeringInbox().wait_if_paused()


async def test_paused_task_waits_for_resume() -> None:
    inbox = SteeringInbox()
    await inbox.push(event("PAUSE"))
    waiting = asyncio.create_task(inbox.wait_if_paused())
    await come_to_rest()
    assert not waiting.done()
    await inbox.push(event("RESUME"))
    await waiting


async def test_paused_task_does_not_miss_a_cancel() -> None:
    inbox = SteeringInbox()
    await inbox.push(event("PAUSE"))
    waiting = asyncio.create_task(inbox.wait_if_paused())
    await come_to_rest()
    await inbox.push(event("CANCEL"))
    await waiting
    assert inbox.cancelled


async def test_cancelled_task_cannot_be_paused() -> None:
    inbox = SteeringInbox()
    await inbox.push(event("CANCEL"))
    await inbox.push(event("PAUSE"))
    await inbox.wait_if_paused()


def test_cancelled_has_a_reason() -> None:
    assert SteeringCancelled().reason == "steering_cancelled"
    error = SteeringCancelled("enough")
    assert isinstance(error, RuntimeError)
    assert (error.reason, str(error)) == ("enough", "enough")


@pytest.mark.parametrize("maxsize", [0, -1])
async def test_inbox_without_a_bound_takes_everything(maxsize: int) -> None:
    inbox = SteeringInbox(maxsize=maxsize)
    assert all([await inbox.push(event("REDIRECT", goal="a")) for _ in range(200)])
