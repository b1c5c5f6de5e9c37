"""Events: stored once whatever happens, read in a clock-free order, paged, followed."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import NatsError
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.state_history import RecordedEvent
from penguiflow_nats.state_settings import ForeignTenant
from penguiflow_nats.state_store import NatsStateStore
from tests.integration.state.events import event, events, trace
from tests.support.eventually import eventually
from tests.support.proxy import FaultProxy

ROOT = Path(__file__).resolve().parents[3]


async def start_saving(url: str, trace_id: str, count: int) -> asyncio.subprocess.Process:
    command = ("-m", "tests.integration.state.events", url, trace_id, str(count))
    return await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT)


async def test_two_processes_that_save_the_same_events_keep_one_of_each(
    shared_server: EmbeddedServer, store: NatsStateStore
) -> None:
    trace_id = trace()
    processes = [await start_saving(shared_server.url, trace_id, 300) for _ in range(2)]
    assert [await process.wait() for process in processes] == [0, 0]
    history = await store.load_history(trace_id)
    assert sorted(each.payload["number"] for each in history) == list(range(300))


async def test_event_saved_again_after_a_server_restart_is_stored_once(
    server: EmbeddedServer,
) -> None:
    trace_id = trace()
    async with NatsStateStore(server.url) as store:
        await store.save_events(events(trace_id, 10))
        await server.kill()
        saving = asyncio.create_task(store.save_events(events(trace_id, 20)))
        await asyncio.sleep(0.2)
        await server.start()
        await saving
        history = await store.load_history(trace_id)
        assert [each.payload["number"] for each in history] == list(range(20))


async def test_key_outlives_the_duplicate_window(store: NatsStateStore) -> None:
    # No message id is sent at all: what refuses the second write is the key itself.
    trace_id = trace()
    await store.save_event(event(trace_id, 1))
    kv = store._room.kv
    (found,) = await kv.read([f"ev.{trace_id}.>"])
    assert "Nats-Msg-Id" not in found.headers
    await store.save_event(event(trace_id, 1, ts=99.0))
    assert [each.ts for each in await store.load_history(trace_id)] == [1.0]


async def test_order_does_not_depend_on_the_clocks_of_workers(store: NatsStateStore) -> None:
    trace_id = trace()
    saved = [event(trace_id, number, ts=1000.0 - number) for number in range(5)]
    for each in saved:
        await store.save_event(each)
    history = await store.load_history(trace_id)
    assert [each.payload["number"] for each in history] == [0, 1, 2, 3, 4]
    numbers = [each.seq or 0 for each in history]
    assert numbers == sorted(numbers)
    assert numbers[0] > 0


async def test_payload_that_json_cannot_hold_comes_back(store: NatsStateStore) -> None:
    trace_id = trace()
    payload = {"pair": (1, 2), "day": date(2026, 1, 2), "nan": math.inf, 3: "three", "raw": b"\xff"}
    await store.save_event(event(trace_id, payload=payload))
    (found,) = await store.load_history(trace_id)
    assert found.payload == payload


async def test_payload_that_cannot_travel_is_described_and_the_event_kept(
    store: NatsStateStore,
) -> None:
    trace_id = trace()
    odd = object()
    await store.save_event(event(trace_id, payload={"odd": odd, "fine": 1}))
    (found,) = await store.load_history(trace_id)
    assert found.payload == {"odd": repr(odd), "fine": 1}


@pytest.mark.parametrize("trace_id", ["a.b > *", "", "käse", "=", "x" * 500, "_h_x"])
async def test_any_text_may_name_a_trace_and_an_event(store: NatsStateStore, trace_id: str) -> None:
    unique = trace_id + trace() if trace_id != "=" else trace_id
    await store.save_event(event(unique, event_id=f"{trace_id}.{unique}"))
    assert len(await store.load_history(unique)) == 1
    assert await store.load_history(f"{unique}.") == []


async def test_large_payload_goes_by_claim_check(connection: Connection) -> None:
    trace_id = trace()
    store = NatsStateStore(connection, tenant=trace_id)
    large = event(trace_id, 1, payload={"text": "x" * 3_000_000})
    await store.save_events([event(trace_id, 0), large, event(trace_id, 2)])
    await store.save_event(large)
    history = await store.load_history(trace_id)
    assert [len(each.payload["text"]) for each in history] == [100, 3_000_000, 100]
    assert await store.delete_trace(trace_id)
    objects = store._room.claims.objects
    chunks = f"$O.{objects.bucket}.C.>"
    info = await objects.jetstream.stream_info(objects.stream, subjects_filter=chunks)
    assert info.state.subjects == {}, "the large value went with its trace"


async def test_history_of_5000_events_is_paged(store: NatsStateStore) -> None:
    trace_id = trace()
    await store.save_events(events(trace_id, 5_000))
    seen: list[int] = []
    after, pages = 0, 0
    while True:
        page = await store.load_history_page(trace_id, limit=700, after=after)
        seen += [each.event.payload["number"] for each in page.events]
        after, pages = page.after, pages + 1
        if not page.more:
            break
    assert seen == list(range(5_000))
    assert pages == 8
    history = await store.load_history(trace_id)
    assert [each.payload["number"] for each in history] == seen


async def test_history_is_complete_while_others_write(
    shared_server: EmbeddedServer, store: NatsStateStore
) -> None:
    trace_id = trace()
    confirmed = -1

    async def write() -> None:
        nonlocal confirmed
        for first in range(0, 3_000, 100):
            await store.save_events(events(trace_id, 100, first))
            confirmed = first + 99

    async with NatsStateStore(shared_server.url) as reader:
        writing = asyncio.create_task(write())
        while not writing.done():
            known = confirmed
            numbers = [each.payload["number"] for each in await reader.load_history(trace_id)]
            assert numbers == list(range(len(numbers)))
            assert len(numbers) > known
        await writing


async def collect(stream: AsyncIterator[RecordedEvent], into: list[int]) -> None:
    async for each in stream:
        into.append(each.event.payload["number"])  # noqa: PERF401 - one by one, to be watched


async def test_history_is_followed_live(store: NatsStateStore) -> None:
    trace_id = trace()
    await store.save_events(events(trace_id, 3))
    seen: list[int] = []
    following = asyncio.create_task(collect(store.follow_history(trace_id, until_end=True), seen))
    await eventually(lambda: len(seen) == 3)
    await store.save_events(events(trace_id, 2_000, 3))
    await eventually(lambda: len(seen) == 2_003)
    await store.mark_trace_ended(trace_id)
    await asyncio.wait_for(following, 5)
    assert seen == list(range(2_003))


async def test_follower_goes_on_where_another_stopped(store: NatsStateStore) -> None:
    trace_id = trace()
    await store.save_events(events(trace_id, 4))
    page = await store.load_history_page(trace_id, limit=2)
    stream = store.follow_history(trace_id, after=page.after)
    assert (await anext(stream)).event.payload["number"] == 2
    await stream.aclose()  # type: ignore[attr-defined]


async def test_follower_misses_nothing_over_a_server_restart(server: EmbeddedServer) -> None:
    trace_id = trace()
    async with NatsStateStore(server.url) as store:
        await store.save_events(events(trace_id, 3))
        seen: list[int] = []
        following = asyncio.create_task(collect(store.follow_history(trace_id), seen))
        await eventually(lambda: len(seen) == 3)
        await server.kill()
        await server.start()
        await store.save_events(events(trace_id, 3, 3))
        await eventually(lambda: len(seen) == 6)
        following.cancel()
        assert seen == list(range(6))


async def test_named_store_refuses_another_tenants_events(connection: Connection) -> None:
    store = NatsStateStore(connection, tenant="acme")
    with pytest.raises(ForeignTenant, match="globex"):
        await store.save_event(event(trace(), tenant="globex"))


async def test_durable_store_raises_when_the_server_stays_away(server: EmbeddedServer) -> None:
    async with NatsStateStore(server.url, patience=0.3) as store:
        await server.kill()
        with pytest.raises(NatsError):
            await store.save_event(event(trace()))
        assert store.lost == 0


async def test_mirror_counts_what_it_gives_up(server: EmbeddedServer) -> None:
    async with NatsStateStore(server.url, mode="mirror", patience=0.3) as store:
        await server.kill()
        await store.save_event(event(trace()))
        assert store.lost == 1
        began = asyncio.get_running_loop().time()
        for _ in range(100):
            await store.save_event(event(trace()))
        assert store.lost == 101
        assert asyncio.get_running_loop().time() - began < 0.3, "nobody waits again at once"


async def test_durable_store_waits_for_a_server_that_starts_later(server: EmbeddedServer) -> None:
    trace_id = trace()
    await server.kill()
    store = NatsStateStore(server.url)
    saving = asyncio.create_task(store.save_event(event(trace_id)))
    await asyncio.sleep(0.3)
    await server.start()
    await saving
    assert len(await store.load_history(trace_id)) == 1
    await store.close()


async def test_slow_server_slows_the_writer_and_loses_nothing(server: EmbeddedServer) -> None:
    trace_id = trace()
    async with FaultProxy(server.port) as proxy:
        settings = ConnectionSettings(servers=(proxy.url,), request_timeout=0.5)
        async with await Connection.open(settings) as connection:
            store = await NatsStateStore(connection).open()
            saving = asyncio.create_task(store.save_events(events(trace_id, 2_000)))
            await asyncio.sleep(0.02)
            proxy.black_hole()
            await asyncio.sleep(1.0)
            proxy.heal()
            await saving
            history = await store.load_history(trace_id)
            assert sorted(each.payload["number"] for each in history) == list(range(2_000))


async def test_recorded_time_is_the_servers(store: NatsStateStore) -> None:
    trace_id = trace()
    await store.save_event(event(trace_id, ts=5.0))
    page = await store.load_history_page(trace_id)
    assert abs((datetime.now(UTC) - page.events[0].recorded_at).total_seconds()) < 60
