"""Bounded edges, tick by tick."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow import PenguiFlow, create
from tests.support.flows import Events, chain, message, node, passing, settle
from tests.unit.runtime.conftest import Run


class Busy:
    """A node function that holds each message until the test lets it go."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.gate = asyncio.Semaphore(0)

    async def __call__(self, msg: Any, ctx: Any) -> Any:
        self.started.append(msg)
        await self.gate.acquire()
        return msg


async def emits_that_complete(flow: PenguiFlow, count: int = 50) -> int:
    done = 0

    async def feed() -> None:
        nonlocal done
        for i in range(count):
            await flow.emit(i)
            done += 1

    feeding = asyncio.create_task(feed())
    await settle()
    feeding.cancel()
    await asyncio.gather(feeding, return_exceptions=True)
    return done


@pytest.mark.parametrize("maxsize", [1, 2, 7])
async def test_with_a_busy_node_exactly_as_many_more_emits_complete(run: Run, maxsize: int) -> None:
    busy = Busy()
    flow = run(create(node(busy).to(), queue_maxsize=maxsize))
    await flow.emit("first")
    await settle()
    assert busy.started == ["first"]
    assert await emits_that_complete(flow) == maxsize


@pytest.mark.parametrize("maxsize", [0, -1])
async def test_without_a_limit_no_emit_waits(run: Run, maxsize: int) -> None:
    flow = run(create(node(Busy()).to(), queue_maxsize=maxsize))
    assert await emits_that_complete(flow, 500) == 500


async def test_emit_with_room_does_not_yield(run: Run) -> None:
    ticks = 0

    async def count() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    flow = run(create(node(Busy()).to(), queue_maxsize=100, middlewares=[Events()]))
    counting = asyncio.create_task(count())
    await settle()
    before = ticks
    for i in range(50):
        await flow.emit(i)
    assert ticks == before
    counting.cancel()


async def test_node_starts_in_the_tick_in_which_its_worker_gets_the_message(run: Run) -> None:
    busy = Busy()
    flow = run(create(node(busy).to()))
    await settle()
    await flow.emit("x")
    assert busy.started == []
    await asyncio.sleep(0)
    assert busy.started == ["x"]


async def test_fan_out_waits_edge_by_edge(run: Run) -> None:
    fast, slow = Busy(), Busy()
    first, second = node(fast, "first"), node(slow, "second")
    flow = run(create(first.to(), second.to(), queue_maxsize=1))
    slow_only = [asyncio.create_task(flow.emit(i, to=second)) for i in range(2)]
    await settle()
    emitting = asyncio.create_task(flow.emit("both"))
    await settle()
    assert not emitting.done()
    assert fast.started == ["both"]  # the first edge had room and did not wait for the second
    slow.gate.release()
    await emitting
    await asyncio.gather(*slow_only)


async def test_full_edge_between_nodes_holds_the_producer(run: Run) -> None:
    busy = Busy()
    events = Events()
    flow = run(chain(passing("a"), node(busy, "b"), queue_maxsize=1, middlewares=[events]))
    for i in range(4):  # one in b, one before b, one held by a, one before a
        await flow.emit(i)
    await settle()
    assert [e.node_name for e in events.of("node_success")] == ["a", "a"]
    assert [e.node_name for e in events.of("node_start")] == ["a", "b", "a", "a"]
    with pytest.raises(asyncio.QueueFull):
        flow.emit_nowait(4)
    busy.gate.release()
    await settle()
    assert [e.node_name for e in events.of("node_success")] == ["a", "a", "b", "a"]
    for _ in range(3):
        busy.gate.release()
    assert [await flow.fetch() for _ in range(4)] == [0, 1, 2, 3]


async def test_emit_nowait_puts_on_all_edges_or_on_none(run: Run) -> None:
    busy, idle = Busy(), Busy()
    full, empty = node(busy, "full"), node(idle, "empty")
    flow = run(create(empty.to(), full.to(), queue_maxsize=1))
    flow.emit_nowait(1, to=full)
    with pytest.raises(asyncio.QueueFull):
        flow.emit_nowait(2)
    await settle()
    assert idle.started == []


async def test_waiting_emits_go_in_order(run: Run) -> None:
    busy = Busy()
    flow = run(create(node(busy).to(), queue_maxsize=1))
    emits = [asyncio.create_task(flow.emit(i)) for i in range(6)]
    await settle()
    for _ in range(6):
        busy.gate.release()
        await flow.fetch()
    await asyncio.gather(*emits)
    assert busy.started == list(range(6))


async def test_unread_results_of_a_trace_hold_its_own_producer(run: Run) -> None:
    flow = run(create(passing("n").to(), queue_maxsize=2))
    for i in range(5):  # two unread, one held by the node, two before it
        await flow.emit(message(i, trace_id="t"))
        await settle()
    emitting = asyncio.create_task(flow.emit(message(5, trace_id="t")))
    await settle()
    assert not emitting.done()
    assert [(await flow.fetch()).payload for _ in range(6)] == [0, 1, 2, 3, 4, 5]
    await emitting


async def test_unread_untraced_results_hold_the_producer(run: Run) -> None:
    flow = run(create(passing("n").to(), queue_maxsize=2))
    assert await emits_that_complete(flow) == 5
    assert [await flow.fetch() for _ in range(5)] == [0, 1, 2, 3, 4]


async def test_fast_nodes_let_others_run(run: Run) -> None:
    flow = run(create(passing("n").to(), queue_maxsize=0))
    for i in range(1000):
        await flow.emit(i)
    turns = 0
    while flow._host.edges.egress.unread < 1000:
        turns += 1
        await asyncio.sleep(0)
    assert turns > 5
