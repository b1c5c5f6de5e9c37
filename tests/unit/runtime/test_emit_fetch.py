"""Putting messages in and taking results out, without round trips."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow import create
from penguiflow.core import Endpoint
from tests.support.flows import chain, message, node, passing, settle
from tests.unit.runtime.conftest import Run


async def test_emit_goes_to_all_ingress_nodes_or_to_some(run: Run) -> None:
    a, b, end = passing("a"), passing("b"), passing("end")
    flow = run(create(a.to(end), b.to(end)))
    await flow.emit(1)
    await flow.emit(2, to=a)
    await flow.emit(3, to=[b, a])
    await flow.emit(4, "b")
    await settle()
    assert sorted([await flow.fetch() for _ in range(6)]) == [1, 1, 2, 3, 3, 4]


async def test_unknown_target(run: Run) -> None:
    a, b = passing("a"), passing("b")
    flow = run(chain(a, b))
    for to in (b, passing("stranger"), "nobody", [a, b]):
        with pytest.raises(KeyError, match=r"Unknown target (b|stranger|nobody) for OpenSea"):
            await flow.emit(1, to=to)
    with pytest.raises(KeyError, match=r"Unknown target Nowhere for OpenSea"):
        flow.emit_nowait(1, to=Endpoint("Nowhere"))
    assert flow._host.unfinished() == 0


async def test_emit_works_while_stopped(run: Run) -> None:
    flow = create(passing("n").to())
    await flow.emit("before")
    flow.emit_nowait("too")
    run(flow)
    assert [await flow.fetch(), await flow.fetch()] == ["before", "too"]


async def test_emit_nowait_of_a_trace_is_refused(run: Run) -> None:
    flow = run(create(passing("n").to()))
    with pytest.raises(RuntimeError):
        flow.emit_nowait(message(), trace_id="t")


async def test_fetch_any_is_fetch(run: Run) -> None:
    flow = run(create(passing("n").to()))
    await flow.emit(1)
    assert await flow.fetch_any() == 1


async def test_fetch_from_some_egress_edges(run: Run) -> None:
    a, b = passing("a"), passing("b")
    flow = run(create(a.to(), b.to()))
    await flow.emit("to a", to=a)
    await flow.emit("to b", to=b)
    assert await flow.fetch(b) == "to b"
    waiting = asyncio.create_task(flow.fetch([b]))
    anybody = asyncio.create_task(flow.fetch())
    await settle()
    assert await anybody == "to a"
    await flow.emit("more", to=b)
    assert await waiting == "more"


@pytest.mark.parametrize("scoped", ["before", "with"])
async def test_fetch_from_edges_and_scoped_calls_exclude_each_other(run: Run, scoped: str) -> None:
    n = passing("n")
    flow = run(create(n.to()))
    if scoped == "before":
        await flow.emit(message(), trace_id="t")
        await flow.fetch(trace_id="t")
        with pytest.raises(RuntimeError):
            await flow.fetch(n)
    else:
        with pytest.raises(RuntimeError):
            await flow.fetch(n, trace_id="t")


async def test_results_come_in_order(run: Run) -> None:
    flow = run(chain(passing("a"), passing("b")))
    fetching = asyncio.gather(*[flow.fetch() for _ in range(200)])
    for i in range(200):
        await flow.emit(i)
    assert await fetching == list(range(200))


async def test_timed_out_fetch_on_several_egress_edges_does_not_swallow_later_results(
    run: Run,
) -> None:
    leaves = [passing(f"leaf{i}") for i in range(3)]
    a = passing("a")
    flow = run(create(a.to(*leaves), *[each.to() for each in leaves]))
    for _ in range(5):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flow.fetch(), 0.001)
        waiting = asyncio.create_task(flow.fetch())
        await asyncio.sleep(0)
        waiting.cancel()
    await flow.emit("x")
    assert [await flow.fetch() for _ in range(3)] == ["x"] * 3


async def test_fetch_cancelled_in_the_tick_of_its_result_does_not_lose_it(run: Run) -> None:
    flow = run(create(passing("n").to()))
    first, second = asyncio.create_task(flow.fetch()), asyncio.create_task(flow.fetch())
    await settle()
    await flow.emit("x")
    while not flow._host.edges.egress.unread:
        await asyncio.sleep(0)
    first.cancel()
    assert await second == "x"


async def test_refused_emit_nowait_is_neither_counted_nor_published(run: Run) -> None:
    heard: list[Any] = []

    class Bus:
        async def publish(self, envelope: Any) -> None:
            heard.append(envelope.payload)

    a, b = passing("a"), passing("b")
    flow = create(a.to(), b.to(), queue_maxsize=1, message_bus=Bus())
    flow.emit_nowait(message("first", trace_id="t"), to=b)
    with pytest.raises(asyncio.QueueFull):
        flow.emit_nowait(message("second", trace_id="u"))
    await settle()
    assert [each.payload for each in heard] == ["first"]
    assert flow._host.traces.get("u") is None
    assert flow._host.unfinished() == 1


async def test_cancelled_emit_is_neither_counted_nor_published(run: Run) -> None:
    heard: list[Any] = []

    class Bus:
        async def publish(self, envelope: Any) -> None:
            heard.append(envelope.payload.payload)

    flow = create(passing("a").to(), queue_maxsize=1, message_bus=Bus())
    await flow.emit(message("first"))
    emitting = asyncio.create_task(flow.emit(message("second", trace_id="u")))
    await settle()
    emitting.cancel()
    await asyncio.gather(emitting, return_exceptions=True)
    assert heard == ["first"]
    assert flow._host.traces.get("u") is None
    run(flow)
    assert await flow.cancel("u") is False


async def test_unread_results_of_one_trace_do_not_block_another(run: Run) -> None:
    async def twice(msg: Any, ctx: Any) -> Any:
        await ctx.emit(msg)
        return msg

    flow = run(chain(passing("a"), node(twice, "b"), queue_maxsize=2))
    for _ in range(3):  # twice the room that one trace has
        await flow.emit(message("unread", trace_id="chatty"))
    await settle()
    for i in range(10):
        await flow.emit(message(i), trace_id=f"t{i}")
        assert (await flow.fetch(trace_id=f"t{i}")).payload == i


async def test_unread_results_do_not_grow_without_limit(run: Run) -> None:
    flow = run(create(passing("n").to()))

    async def feed() -> None:
        for _ in range(10_000):
            await flow.emit(message())

    feeding = asyncio.create_task(feed())
    await settle(3000)
    unread = flow._host.edges.egress.unread
    assert not feeding.done()
    assert unread <= 1024 + flow.queue_maxsize + 1
    with pytest.raises(asyncio.QueueFull):
        flow.emit_nowait(message())
    for _ in range(10_000):
        await flow.fetch()
    await feeding


async def test_any_object_with_a_trace_id_is_traced(run: Run) -> None:
    class Traced:
        trace_id = "t"

    class Odd:
        @property
        def trace_id(self) -> str:
            raise ValueError

    flow = run(chain(passing("a"), passing("b")))
    await flow.emit(odd := Odd())
    await flow.emit(traced := Traced())
    assert await flow.fetch(trace_id="t") is traced
    assert await flow.fetch() is odd


async def test_plain_value_belongs_to_the_trace_being_run(run: Run) -> None:
    async def unwrap(msg: Any, ctx: Any) -> Any:
        return msg.payload

    flow = run(chain(node(unwrap, "a"), passing("b")))
    await flow.emit(message("plain"), trace_id="t")
    assert await flow.fetch(trace_id="t") == "plain"
