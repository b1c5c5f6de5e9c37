"""Building a flow, starting it, and its edges."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import penguiflow
from penguiflow import CycleError, Message, ModelRegistry, Node, PenguiFlow, create
from penguiflow.core import DEFAULT_QUEUE_MAXSIZE, OPEN_SEA, ROOKERY, Endpoint, Floe
from penguiflow.patterns import join_k
from tests.support.flows import chain, message, node, passing, same
from tests.unit.runtime.conftest import Run


def test_queue_maxsize_is_64_by_default() -> None:
    assert DEFAULT_QUEUE_MAXSIZE == 64
    assert create().queue_maxsize == 64


def test_endpoints() -> None:
    assert Endpoint("OpenSea") == OPEN_SEA
    assert (OPEN_SEA.name, OPEN_SEA.node_id) == ("OpenSea", "OpenSea")
    assert (ROOKERY.name, ROOKERY.node_id) == ("Rookery", "Rookery")


def test_cycle_is_refused_unless_allowed() -> None:
    a, b = passing("a"), passing("b")
    with pytest.raises(CycleError, match=r"^Flow contains a cycle; enable allow_cycles to bypass$"):
        create(a.to(b), b.to(a))
    assert issubclass(CycleError, RuntimeError)
    create(a.to(b), b.to(a), allow_cycles=True)


def test_loop_of_a_node_to_itself_needs_allow_cycle() -> None:
    refused = passing("n")
    with pytest.raises(CycleError):
        create(refused.to(refused))
    allowed = Node(same, allow_cycle=True)
    flow = create(allowed.to(allowed))
    assert flow.graph.ingress == (allowed,)
    assert flow.graph.egress == (allowed,)


async def test_empty_flow_is_legal_and_has_nothing_to_fetch(run: Run) -> None:
    flow = run(create())
    with pytest.raises(RuntimeError, match="context has no incoming floes to fetch from"):
        await flow.fetch()


async def test_emit_without_any_ingress_does_not_vanish(run: Run) -> None:
    a, b = passing("a"), passing("b")
    for flow in (create(), create(a.to(b), b.to(a), allow_cycles=True)):
        run(flow)
        with pytest.raises(RuntimeError):
            await flow.emit(1)
        with pytest.raises(RuntimeError):
            flow.emit_nowait(1)


async def test_names_may_repeat(run: Run) -> None:
    flow = run(chain(passing("n"), passing("n")))
    await flow.emit("x")
    assert await flow.fetch() == "x"


def test_run_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError):
        create(passing("n").to()).run()


async def test_flow_that_runs_is_not_started_again(run: Run) -> None:
    flow = run(create(passing("n").to()))
    with pytest.raises(RuntimeError, match=r"^PenguiFlow already running$"):
        flow.run()


async def test_run_refused_by_the_registry_does_not_leave_the_flow_running(run: Run) -> None:
    b, a, free = Node(same, name="b"), Node(same, name="a"), passing("free")
    flow = create(b.to(a), a.to(free))
    text = "^ModelRegistry is missing entries for nodes requiring validation: a, b$"
    with pytest.raises(RuntimeError, match=text):
        flow.run(registry=ModelRegistry())
    with pytest.raises(RuntimeError, match="PenguiFlow is not running"):
        await flow.cancel("t")
    run(flow)
    await flow.emit(1)
    assert await flow.fetch() == 1


async def test_registry_is_a_property(run: Run) -> None:
    registry = ModelRegistry()
    flow = run(create(passing("n").to()), registry)
    assert flow.registry is registry


async def test_fan_out_delivers_the_same_object_in_order_of_declaration(run: Run) -> None:
    seen: list[tuple[str, Any]] = []

    def leaf(name: str) -> Node:
        async def look(msg: Any, ctx: Any) -> None:
            seen.append((name, msg))

        return node(look, name)

    leaves = [leaf(f"leaf{i}") for i in range(8)]
    a = passing("a")
    flow = run(create(a.to(*leaves), *[each.to() for each in leaves]))
    sent = message([1])
    await flow.emit(sent)
    while len(seen) < 8:
        await asyncio.sleep(0)
    assert [name for name, _ in seen] == [f"leaf{i}" for i in range(8)]
    assert all(got is sent for _, got in seen)


async def test_result_of_any_kind_travels(run: Run) -> None:
    flow = run(chain(passing("a"), passing("b")))
    for value in (0, "", [], {"k": 1}, object(), penguiflow.FinalAnswer(text="bare")):
        await flow.emit(value)
        assert await flow.fetch() is value


async def test_none_is_not_emitted(run: Run) -> None:
    async def odd_only(msg: int, ctx: Any) -> int | None:
        return msg if msg % 2 else None

    flow = run(create(node(odd_only).to()))
    for i in range(4):
        await flow.emit(i)
    assert [await flow.fetch(), await flow.fetch()] == [1, 3]


async def test_join_of_two_branches(run: Run) -> None:
    a, left, right, join = passing("a"), passing("l"), passing("r"), join_k("join", 2)
    flow = run(create(a.to(left, right), left.to(join), right.to(join), join.to()))
    await flow.emit(message("x"))
    joined = await flow.fetch()
    assert isinstance(joined, Message)
    assert joined.payload == ["x", "x"]


# ---- Floe ----------------------------------------------------------------------------------------


async def test_floe_has_a_queue_like_asyncio() -> None:
    floe = Floe(OPEN_SEA, passing("n"), maxsize=2)
    queue = floe.queue
    assert (queue.maxsize, queue.qsize(), queue.empty(), queue.full()) == (2, 0, True, False)
    await queue.put(1)
    queue.put_nowait(message("two"))
    assert (queue.qsize(), queue.full()) == (2, True)
    with pytest.raises(asyncio.QueueFull):
        queue.put_nowait(3)
    putting = asyncio.create_task(queue.put(3))
    await asyncio.sleep(0)
    assert not putting.done()
    assert await queue.get() == 1
    await putting
    assert queue.get_nowait().payload == "two"
    assert queue.get_nowait() == 3
    with pytest.raises(asyncio.QueueEmpty):
        queue.get_nowait()


async def test_cancelled_get_or_put_of_a_floe_loses_nothing() -> None:
    queue = Floe(OPEN_SEA, passing("n"), maxsize=1).queue
    getting, other = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put_nowait("a")
    getting.cancel()
    assert await other == "a"
    queue.put_nowait("b")
    putting, second = asyncio.create_task(queue.put("c")), asyncio.create_task(queue.put("d"))
    await asyncio.sleep(0)
    assert queue.get_nowait() == "b"
    putting.cancel()
    await second
    assert queue.get_nowait() == "d"


@pytest.mark.parametrize("maxsize", [0, -1])
def test_floe_without_a_limit(maxsize: int) -> None:
    queue = Floe(OPEN_SEA, ROOKERY, maxsize=maxsize).queue
    for i in range(1000):
        queue.put_nowait(i)
    assert not queue.full()


# ---- the deprecated aliases ----------------------------------------------------------------------


async def test_deprecated_outgoing_maps_successors_to_edges(run: Run) -> None:
    b, c = passing("b"), passing("c")

    async def choose(msg: Any, ctx: Any) -> None:
        assert list(ctx._outgoing) == [b, c]
        assert ctx._outgoing[c].target is c
        target = next(each for each in ctx._outgoing if each.name == "c")
        await ctx.emit(f"{msg} to {target.name}", to=target)
        await ctx._outgoing[b].queue.put("straight in")

    a = node(choose, "a")
    flow = run(create(a.to(b, c), b.to(), c.to()))
    await flow.emit("x")
    assert {await flow.fetch(), await flow.fetch()} == {"x to c", "straight in"}


async def test_deprecated_emit_to_rookery(run: Run) -> None:
    async def out(msg: Any, ctx: Any) -> None:
        await ctx.runtime._emit_to_rookery(f"early {msg}", source=ctx.owner)

    flow = run(chain(node(out, "a"), passing("b")))
    await flow.emit("x")
    assert await flow.fetch() == "early x"


def test_runtime_of_a_context_is_the_flow() -> None:
    flow = create(passing("n").to())
    assert isinstance(flow, PenguiFlow)
    assert penguiflow.Context(flow.graph.nodes[0], flow).outgoing_count() == 1
