"""The state store: what a history costs in a full bucket, and how fast events are saved.

`python -m benchmarks.state [foreign events]` (200,000 by default) measures

    history   ten traces of 100 events: alone on one server; beside the foreign events on another,
              saved before them, and scattered among them. Asked in turns, so that a slow moment of
              the machine meets all three. The ratio is to be near one.
    pages     a trace of 5,000 events: whole, and its first and its last page of 500
    saving    save_event one at a time and 64 at once, save_events in bulk; the same for 1 KiB
              written to a plain stream, as what the server and the client allow

Rates depend on the machine; only the ratios of one run mean anything.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from uuid import uuid4

from penguiflow.state.records import StoredEvent
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.state_store import NatsStateStore
from penguiflow_nats.stream_types import StreamConfig

TRACES, LENGTH = 10, 100
ROUNDS = 10
_BLOCK = 5_000


def event(trace_id: str) -> StoredEvent:
    """What a node leaves behind, about 600 bytes."""
    payload = {
        "ts": time.time(),
        "event": "node_success",
        "node_name": "summarise",
        "node_id": "summarise-1",
        "trace_id": trace_id,
        "latency_ms": 12.5,
        "q_depth_in": 3,
        "q_depth_out": 0,
        "q_depth_total": 3,
        "outgoing": 2,
        "queue_maxsize": 64,
        "attempt": 0,
        "trace_inflight": 1,
        "trace_cancelled": False,
        "trace_pending": 4,
    }
    return StoredEvent(
        trace_id, time.time(), "node_success", "summarise", "summarise-1", payload, uuid4().hex
    )


def traces(count: int = TRACES) -> list[str]:
    """Trace ids."""
    return [uuid4().hex for _ in range(count)]


async def timed(action: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds that it takes."""
    start = time.perf_counter()
    await action()
    return (time.perf_counter() - start) * 1e3


async def history(store: NatsStateStore, trace_id: str) -> None:
    """What is measured."""
    assert len(await store.load_history(trace_id)) == LENGTH


async def fill(store: NatsStateStore, foreign: int, scattered: list[str]) -> float:
    """Save foreign events with those of some traces among them; gives events a second."""
    others = traces(max(1, foreign // 100))
    own = [trace_id for trace_id in scattered for _ in range(LENGTH)]
    random.shuffle(own)
    blocks = max(1, foreign // _BLOCK)
    start = time.perf_counter()
    for block in range(blocks):
        names = [random.choice(others) for _ in range(_BLOCK)]
        names += own[block * len(own) // blocks : (block + 1) * len(own) // blocks]
        random.shuffle(names)
        await store.save_events([event(name) for name in names])
    return (foreign + len(own)) / (time.perf_counter() - start)


async def measure_histories(small: NatsStateStore, full: NatsStateStore, foreign: int) -> None:
    """The first two tables."""
    alone, together, scattered = traces(), traces(), traces()
    for store, names in ((small, alone), (full, together)):
        await store.save_events([event(name) for _ in range(LENGTH) for name in names])
    rate = await fill(full, foreign, scattered)
    cases = {
        "alone in the bucket": (small, alone),
        f"beside {foreign:,} foreign events": (full, together),
        "the same, scattered among them": (full, scattered),
    }
    times: dict[str, list[float]] = {label: [] for label in cases}
    for _ in range(ROUNDS):
        for number in range(TRACES):
            for label, (store, names) in cases.items():
                ms = await timed(partial(history, store, names[number]))
                times[label].append(ms)
    medians = {label: statistics.median(each) for label, each in times.items()}
    print(f"saved {foreign:,} foreign events in bulk: {rate:,.0f} events/s\n")
    print("| history of 100 events | ms | x alone |")
    print("|---|---|---|")
    for label, ms in medians.items():
        print(f"| {label} | {ms:.2f} | {ms / medians['alone in the bucket']:.2f} |")


async def measure_pages(store: NatsStateStore) -> None:
    """A long trace."""
    (trace_id,) = traces(1)
    await store.save_events([event(trace_id) for _ in range(5_000)])
    after = 0
    while (page := await store.load_history_page(trace_id, limit=500, after=after)).more:
        last, after = after, page.after
    whole = await timed(lambda: store.load_history(trace_id))
    first = await timed(lambda: store.load_history_page(trace_id, limit=500))
    end = await timed(lambda: store.load_history_page(trace_id, limit=500, after=last))
    print("\n| 5,000 events | ms | us per event |")
    print("|---|---|---|")
    for label, ms, count in (("whole", whole, 5_000), ("first page", first, 500)):
        print(f"| {label} | {ms:.0f} | {ms * 1e3 / count:.0f} |")
    print(f"| last page | {end:.0f} | {end * 1e3 / 500:.0f} |")


async def measure_saving(store: NatsStateStore, jetstream: JetStream, count: int) -> None:
    """The last table."""
    made = [event(trace_id) for trace_id in traces(100) for _ in range(count // 100)]

    async def one_by_one() -> None:
        for each in made[: count // 10]:
            await store.save_event(each)

    async def many_callers() -> None:
        waiting = iter([event(each.trace_id or "") for each in made])

        async def call() -> None:
            for each in waiting:
                await store.save_event(each)

        await asyncio.gather(*(call() for _ in range(64)))

    async def bulk() -> None:
        await store.save_events([event(each.trace_id or "") for each in made])

    async def again() -> None:
        await store.save_events(made[: count // 10])

    async def plain() -> None:
        data = b"x" * 600
        for start in range(0, count, 500):
            numbers = range(start, start + 500)
            await asyncio.gather(*(jetstream.append(f"plain.{n}", data) for n in numbers))

    await jetstream.create_stream(StreamConfig(name="PLAIN", subjects=["plain.>"]))
    print("\n| saving | events/s |")
    print("|---|---|")
    for label, action, saved in (
        ("save_event, one at a time", one_by_one, count // 10),
        ("save_event, 64 callers", many_callers, count),
        ("save_events", bulk, count),
        ("save_events, all stored before", again, count // 10),
        ("plain stream, 500 at once", plain, count),
    ):
        print(f"| {label} | {saved / (await timed(action)) * 1e3:,.0f} |")


async def run(foreign: int = 200_000, count: int = 20_000) -> None:
    """Measure and print the tables."""
    async with EmbeddedServer() as server, NatsStateStore(server.url) as store:
        await measure_saving(store, JetStream((await store._room.open()).connection), count)
        print()
    async with (
        EmbeddedServer() as one,
        EmbeddedServer() as other,
        NatsStateStore(one.url) as small,
        NatsStateStore(other.url) as full,
    ):
        await measure_histories(small, full, foreign)
        await measure_pages(full)


if __name__ == "__main__":
    asyncio.run(run(*(int(number.replace(",", "")) for number in sys.argv[1:2])))
