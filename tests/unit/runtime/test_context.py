"""What a node can do with its context."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow import create
from penguiflow.core import OPEN_SEA, ROOKERY, Context, Endpoint
from tests.support.flows import chain, message, node, passing, settle
from tests.unit.runtime.conftest import Run


def test_detached_context() -> None:
    context = Context(Endpoint("x"))
    assert context.owner == Endpoint("x")
    assert context.runtime is None
    assert context.outgoing_count() == 0
    assert (context.queue_depth_in(), context.queue_depth_out()) == (0, 0)


async def test_detached_context_emits_nothing() -> None:
    context = Context(Endpoint("x"))
    text = "Context is not attached to a running flow"
    with pytest.raises(RuntimeError, match=text):
        await context.emit(1)
    with pytest.raises(RuntimeError, match=text):
        context.emit_nowait(1)
    with pytest.raises(RuntimeError, match=text):
        await context.emit_chunk(parent=message(), text="x")
    with pytest.raises(RuntimeError, match="no incoming floes to fetch from"):
        await context.fetch()
    with pytest.raises(asyncio.QueueEmpty, match="no messages available"):
        context.fetch_nowait()


async def test_context_made_by_hand_for_a_flow(run: Run) -> None:
    a, b = passing("a"), passing("b")
    flow = run(chain(a, b))
    context = Context(a, flow)
    assert context.runtime is flow
    assert context.outgoing_count() == 1
    await context.emit("x")
    assert context.queue_depth_out() == 1
    assert await flow.fetch() == "x"
    with pytest.raises(RuntimeError):
        _ = context.idempotency_key
    ingress = Context(OPEN_SEA, flow)
    await ingress.emit("y")
    assert await flow.fetch() == "y"


async def test_targets_of_a_node(run: Run) -> None:
    b, c = passing("b"), passing("c")

    async def send(msg: Any, ctx: Any) -> None:
        await ctx.emit("all")
        await ctx.emit("one", to=b)
        await ctx.emit("named", to="c")
        ctx.emit_nowait("both", [c, "b"])
        await ctx.emit("out", ROOKERY)
        await ctx.emit("out by name", to="Rookery")
        for stranger in (a, passing("z"), "z", Endpoint("z"), OPEN_SEA):
            with pytest.raises(KeyError, match=r"Unknown target (a|z|OpenSea) for a"):
                await ctx.emit("x", to=stranger)
        assert ctx.successor("b") is b
        with pytest.raises(KeyError, match="No successor named 'z'"):
            ctx.successor("z")
        assert ctx.outgoing_count() == 2

    a = node(send, "a")
    flow = run(create(a.to(b, c), b.to(), c.to()))
    await flow.emit(message())
    await settle()
    got = [await flow.fetch() for _ in range(flow._host.edges.egress.unread)]
    expected = ["all", "all", "both", "both", "named", "one", "out", "out by name"]
    assert sorted(got) == expected


async def test_fetch_in_a_node_takes_what_comes_next(run: Run) -> None:
    async def pair(msg: Any, ctx: Any) -> Any:
        assert ctx.queue_depth_in() == 1
        second = await ctx.fetch()
        with pytest.raises(asyncio.QueueEmpty):
            ctx.fetch_nowait()
        return msg, second, await ctx.fetch_any()

    flow = run(create(node(pair).to()))
    await flow.emit(1)
    await flow.emit(2)
    await settle()
    await flow.emit(3)
    assert await flow.fetch() == (1, 2, 3)


async def test_fetch_in_a_node_from_some_edges(run: Run) -> None:
    a, b = passing("a"), passing("b")

    async def pick(msg: Any, ctx: Any) -> Any:
        return msg, await ctx.fetch(b), ctx.fetch_nowait([a])

    end = node(pick, "end")
    flow = run(create(a.to(end), b.to(end), end.to()))
    for value in ("first", "second"):
        await flow.emit(value, to=a)
    await settle()
    await flow.emit("other", to=b)
    assert await flow.fetch() == ("first", "other", "second")


async def test_cancelled_fetch_of_a_node_loses_nothing(run: Run) -> None:
    async def patient(msg: Any, ctx: Any) -> Any:
        try:
            async with asyncio.timeout(0.002):
                return msg, await ctx.fetch()
        except TimeoutError:
            return msg, None

    flow = run(create(node(patient).to()))
    await flow.emit(1)
    assert await flow.fetch() == (1, None)
    await flow.emit(2)
    await flow.emit(3)
    assert await flow.fetch() == (2, 3)


async def test_idempotency_key_is_the_same_in_every_attempt(run: Run) -> None:
    keys: list[str] = []

    async def fail_once(msg: Any, ctx: Any) -> Any:
        keys.append(ctx.idempotency_key)
        if len(keys) == 1:
            raise ValueError
        return msg

    flow = run(create(node(fail_once, max_retries=1, backoff_base=0).to()))
    for _ in range(2):
        await flow.emit(message(trace_id="t"))
        await flow.fetch()
    assert keys[0] == keys[1] != keys[2]


async def test_context_that_outlives_its_run_still_sends(run: Run) -> None:
    kept: list[Any] = []

    async def keep(msg: Any, ctx: Any) -> None:
        kept.append(ctx)

    flow = run(create(node(keep).to()))
    await flow.emit(message(trace_id="t"))
    await settle()
    await kept[0].emit("later")
    assert await flow.fetch(trace_id="t") == "later"
