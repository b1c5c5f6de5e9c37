"""Retention: what goes is known to have been there."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from penguiflow.state.records import RemoteBinding
from penguiflow.state.tasks import StateUpdate, SteeringEvent, UpdateType
from penguiflow_nats.connection import Connection
from penguiflow_nats.state_settings import StateRetention
from penguiflow_nats.state_store import NatsStateStore
from tests.integration.state.events import event, events, trace

SOON = timedelta(seconds=0.3)


def own_store(connection: Connection, retention: StateRetention) -> NatsStateStore:
    return NatsStateStore(connection, tenant=f"t{uuid4().hex}", retention=retention)


async def test_deleted_trace_is_reported_as_removed(store: NatsStateStore) -> None:
    gone, never = trace(), trace()
    await store.save_events(events(gone, 3))
    assert await store.trace_removal(gone) is None
    assert await store.delete_trace(gone)
    removal = await store.trace_removal(gone)
    assert removal is not None
    assert (removal.reason, removal.events, removal.tenant) == ("deleted", 3, None)
    assert removal.removed_at is not None
    assert await store.trace_removal(never) is None
    page = await store.load_history_page(gone)
    assert (page.events, page.removed) == ([], removal)


async def test_follower_of_a_removed_trace_ends(store: NatsStateStore) -> None:
    trace_id = trace()
    await store.save_event(event(trace_id))
    await store.delete_trace(trace_id)
    assert [each async for each in store.follow_history(trace_id)] == []


async def test_trace_goes_after_its_terminal_state_and_not_before(connection: Connection) -> None:
    store = own_store(connection, StateRetention(after_end=SOON))
    ended, cancelled, running = trace(), trace(), trace()
    for trace_id in (ended, cancelled, running):
        await store.save_events(events(trace_id, 2))
    await store.mark_trace_ended(ended)
    await store.save_event(event(cancelled, 9, kind="trace_cancel_finish"))
    assert (await store.sweep()).ended == 0
    await asyncio.sleep(0.4)
    assert (await store.sweep()).ended == 2
    assert (await store.sweep()).ended == 0
    for trace_id in (ended, cancelled):
        removal = await store.trace_removal(trace_id)
        assert removal is not None
        assert removal.reason == "ended"
    assert len(await store.load_history(running)) == 2


async def test_idle_trace_goes_unless_a_remote_task_works_for_it(connection: Connection) -> None:
    store = own_store(connection, StateRetention(idle=SOON))
    idle, bound, busy = trace(), trace(), trace()
    for trace_id in (idle, bound, busy):
        await store.save_event(event(trace_id))
    await store.save_remote_binding(RemoteBinding(bound, None, "task", "http://agent"))
    await asyncio.sleep(0.4)
    await store.save_event(event(busy, 1))
    assert (await store.sweep()).idle == 1
    assert await store.load_history(idle) == []
    assert len(await store.load_history(bound)) == 1
    assert len(await store.load_history(busy)) == 2


async def test_several_processes_may_sweep_at_once(connection: Connection) -> None:
    store = own_store(connection, StateRetention(after_end=SOON))
    traces = [trace() for _ in range(20)]
    for trace_id in traces:
        await store.save_event(event(trace_id))
        await store.mark_trace_ended(trace_id)
    await asyncio.sleep(0.4)
    await asyncio.gather(*(store.sweep() for _ in range(3)))
    removals = [await store.trace_removal(trace_id) for trace_id in traces]
    assert [each.events for each in removals if each is not None] == [1] * 20


async def test_events_with_a_time_to_live_are_reported_as_expired(connection: Connection) -> None:
    store = own_store(connection, StateRetention(events=timedelta(seconds=1)))
    trace_id = trace()
    await store.save_events(events(trace_id, 3))
    await asyncio.sleep(2.2)
    assert await store.load_history(trace_id) == []
    removal = await store.trace_removal(trace_id)
    assert removal is not None
    assert removal.reason == "expired"


async def test_large_values_that_no_key_names_are_swept(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = own_store(connection, StateRetention())
    await store.save_memory_state("kept", {"text": "x" * 600_000})
    objects = store._room.claims.objects
    await objects.put("me.gone.0123", b"left over")
    assert (await store.sweep()).values == 0, "it may just be being written"
    monkeypatch.setattr("penguiflow_nats.state_sweep._STRAY", timedelta(minutes=-1))
    assert (await store.sweep()).values == 1
    assert await objects.info("me.gone.0123") is None
    assert await store.load_memory_state("kept") is not None


async def test_tenants_of_one_trace_have_tombstones_of_their_own(store: NatsStateStore) -> None:
    trace_id = trace()
    for tenant in ("one", "two"):
        await store.save_event(event(trace_id, tenant=tenant))
    await store.delete_trace(trace_id, tenant="one")
    removal = await store.trace_removal(trace_id, tenant="one")
    assert removal is not None
    assert removal.tenant == "one"
    assert await store.trace_removal(trace_id, tenant="two") is None


async def test_what_is_saved_after_a_removal_is_a_new_history(store: NatsStateStore) -> None:
    trace_id = trace()
    await store.save_events(events(trace_id, 3))
    await store.delete_trace(trace_id)
    await store.save_event(event(trace_id, 7))
    assert [each.payload["number"] for each in await store.load_history(trace_id)] == [7]
    assert await store.trace_removal(trace_id) is not None
    stream = store.follow_history(trace_id)
    assert (await anext(stream)).event.payload["number"] == 7
    await stream.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["after_end", "events", "tombstones"])
def test_times_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        StateRetention(**{name: timedelta(0)})


async def test_trace_that_went_on_after_its_end_is_kept_for_its_time(
    connection: Connection,
) -> None:
    store = own_store(connection, StateRetention(after_end=SOON))
    trace_id = trace()
    await store.save_event(event(trace_id))
    await store.mark_trace_ended(trace_id)
    await asyncio.sleep(0.4)
    await store.save_event(event(trace_id, 1))
    assert (await store.sweep()).ended == 0
    assert len(await store.load_history(trace_id)) == 2


async def test_a_trace_with_too_many_events_loses_its_oldest(connection: Connection) -> None:
    store = own_store(connection, StateRetention(max_events_per_trace=3))
    long, short = trace(), trace()
    await store.save_events(events(long, 10))
    await store.save_events(events(short, 3))
    assert (await store.sweep()).trimmed == 7
    assert (await store.sweep()).trimmed == 0
    assert [each.payload["number"] for each in await store.load_history(long)] == [7, 8, 9]
    assert len(await store.load_history(short)) == 3
    await store.save_event(event(long, 10))
    assert (await store.sweep()).trimmed == 1
    page = await store.load_history_page(long)
    assert page.removed is not None
    assert (page.removed.reason, page.removed.events) == ("trimmed", 8)
    following = store.follow_history(long)
    numbers = [(await anext(following)).event.payload["number"] for _ in range(3)]
    await store.save_event(event(long, 11))
    assert [*numbers, (await anext(following)).event.payload["number"]] == [8, 9, 10, 11]
    await following.aclose()  # type: ignore[attr-defined]


async def test_a_bucket_with_too_many_traces_loses_those_that_moved_last(
    connection: Connection,
) -> None:
    store = own_store(connection, StateRetention(max_traces=2))
    bound, old, moved, new = (trace() for _ in range(4))
    for trace_id in (bound, old, moved, new):
        await store.save_event(event(trace_id))
    await store.save_remote_binding(RemoteBinding(bound, None, "task", "http://agent"))
    await store.save_event(event(moved, 1))
    assert (await store.sweep()).crowded == 2
    assert (await store.sweep()).crowded == 0
    assert [len(await store.load_history(each)) for each in (bound, old, moved, new)] == [
        1,
        0,
        2,
        0,
    ]
    removal = await store.trace_removal(old)
    assert removal is not None
    assert removal.reason == "crowded"


async def test_sessions_and_planners_keep_their_newest(connection: Connection) -> None:
    store = own_store(
        connection,
        StateRetention(
            max_updates_per_session=2,
            max_steering_events_per_session=2,
            max_planner_events_per_trace=2,
        ),
    )
    for number in range(4):
        task = f"task-{number % 2}"
        await store.save_update(
            StateUpdate(
                session_id="s", task_id=task, update_type=UpdateType.PROGRESS, content=number
            )
        )
        await store.save_steering(
            SteeringEvent(
                session_id="s", task_id=task, event_type="CANCEL", payload={"reason": str(number)}
            )
        )
        await store.save_planner_event("t", {"number": number})
    assert (await store.sweep()).trimmed == 6
    assert [each.content for each in await store.list_updates("s")] == [2, 3]
    assert [each.payload["reason"] for each in await store.list_steering("s")] == ["2", "3"]
    assert [each["number"] for each in await store.list_planner_events("t")] == [2, 3]


@pytest.mark.parametrize("name", ["max_traces", "max_updates_per_session"])
def test_numbers_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        StateRetention(**{name: 0})
