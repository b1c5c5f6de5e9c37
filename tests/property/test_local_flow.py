"""The local flow over generated graphs: every message to every leaf that its routes imply, once."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penguiflow import Message, Node, NodePolicy, PenguiFlow, create, predicate_router
from tests.support.flows import Events, forgotten, message, passing, settle


@dataclass(frozen=True)
class Plan:
    """A graph without cycles, and which of its nodes route."""

    targets: tuple[tuple[int, ...], ...]
    """Successors of each node, all with a higher number."""
    routers: tuple[bool, ...]
    salt: int

    def chosen(self, node: int, payload: int) -> tuple[int, ...]:
        """Where a node sends a message."""
        targets = self.targets[node]
        if not (self.routers[node] and targets):
            return targets
        bits = hash((self.salt, node, payload))
        return tuple(t for position, t in enumerate(targets) if bits >> position & 1)

    @property
    def roots(self) -> list[int]:
        """Nodes without parents."""
        children = {target for targets in self.targets for target in targets}
        return [node for node in range(len(self.targets)) if node not in children]

    def arrivals(self, payload: int) -> Counter[int]:
        """How often a message that goes in everywhere arrives at each leaf."""
        count = Counter(self.roots)
        leaves: Counter[int] = Counter()
        for node, targets in enumerate(self.targets):
            if not targets:
                leaves[node] += count[node]
            for target in self.chosen(node, payload):
                count[target] += count[node]
        return +leaves


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    size = draw(st.integers(1, 7))
    targets = []
    for node in range(size):
        later = range(node + 1, size)
        chosen = st.lists(st.sampled_from(later), unique=True, max_size=3) if later else st.just([])
        targets.append(tuple(draw(chosen)))
    routers = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    return Plan(tuple(targets), tuple(routers), draw(st.integers(0, 1000)))


def build(plan: Plan, *, maxsize: int, yields: bool = False, **options: Any) -> PenguiFlow:
    nodes: list[Node] = []
    for number, targets in enumerate(plan.targets):
        name = f"n{number}"
        if not targets:
            nodes.append(tagging(number, name))
        elif plan.routers[number]:
            nodes.append(routing(plan, number, name))
        else:
            nodes.append(pausing(name) if yields else passing(name))
    pairs = [nodes[n].to(*[nodes[t] for t in plan.targets[n]]) for n in range(len(nodes))]
    return create(*pairs, queue_maxsize=maxsize, **options)


def tagging(number: int, name: str) -> Node:
    async def tag(msg: Message, ctx: Any) -> Message:
        return msg.model_copy(update={"payload": (number, msg.payload)})

    return Node(tag, name=name, policy=NodePolicy(validate="none"))


def routing(plan: Plan, number: int, name: str) -> Node:
    def choose(msg: Message) -> list[str]:
        return [f"n{target}" for target in plan.chosen(number, msg.payload)]

    return predicate_router(name, choose)


def pausing(name: str) -> Node:
    async def pause(msg: Message, ctx: Any) -> Message:
        await asyncio.sleep(0)
        return msg

    return Node(pause, name=name, policy=NodePolicy(validate="none"))


# ---- delivery ------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(plan=plans(), count=st.integers(1, 12), maxsize=st.integers(0, 3), yields=st.booleans())
def test_every_message_reaches_every_leaf_that_its_routes_imply_once(
    plan: Plan, count: int, maxsize: int, yields: bool
) -> None:
    expected: Counter[tuple[int, int]] = Counter()
    for payload in range(count):
        for leaf, times in plan.arrivals(payload).items():
            expected[leaf, payload] += times

    async def run() -> Counter[tuple[int, int]]:
        flow = build(plan, maxsize=maxsize, yields=yields)
        flow.run()

        async def feed() -> None:
            for payload in range(count):
                await flow.emit(message(payload, trace_id=f"t{payload}"))

        feeding = asyncio.create_task(feed())
        got = Counter([(await flow.fetch()).payload for _ in range(expected.total())])
        await feeding
        while flow._host.unfinished():
            await asyncio.sleep(0)
        await settle()
        assert forgotten(flow)
        assert await flow.stop() == 0
        return got

    assert asyncio.run(run()) == expected


@settings(deadline=None, max_examples=60)
@given(plan=plans(), count=st.integers(1, 6), maxsize=st.integers(1, 3))
def test_every_result_of_a_trace_can_be_fetched_by_its_id(
    plan: Plan, count: int, maxsize: int
) -> None:
    async def trip(flow: PenguiFlow, payload: int) -> None:
        trace_id = f"t{payload}"
        with flow.subscribe(trace_id):
            emitting = asyncio.create_task(flow.emit(message(payload, trace_id=trace_id)))
            expected = plan.arrivals(payload)
            got = [await flow.fetch(trace_id=trace_id) for _ in range(expected.total())]
            await emitting
        assert Counter(result.payload[0] for result in got) == expected

    async def run() -> None:
        flow = build(plan, maxsize=maxsize)
        flow.run()
        await asyncio.gather(*[trip(flow, payload) for payload in range(count)])
        await flow.stop(drain=10)
        assert forgotten(flow)

    asyncio.run(run())


# ---- cancel --------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(
    plan=plans(),
    ticks=st.integers(0, 25),
    fetched=st.integers(0, 2),
    maxsize=st.integers(1, 3),
    scoped=st.booleans(),
)
def test_cancel_at_any_moment_leaves_no_trace_behind(
    plan: Plan, ticks: int, fetched: int, maxsize: int, scoped: bool
) -> None:
    async def run() -> None:
        events = Events()
        flow = build(plan, maxsize=maxsize, yields=True, middlewares=[events])
        flow.run()

        async def feed() -> None:
            await flow.emit(message(1, trace_id="t"), trace_id="t" if scoped else None)
            for _ in range(0 if scoped else 3):
                await flow.emit(message(1, trace_id="t"))

        feeding = asyncio.create_task(feed())
        readers = [asyncio.create_task(flow.fetch(trace_id="t")) for _ in range(fetched)]
        await settle(ticks)
        feeding.cancel()
        was_alive = await flow.cancel("t")
        await settle(30)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(feeding, *readers, return_exceptions=True)
        assert forgotten(flow)
        assert flow._host.edges.depths(flow.graph.nodes[0])[:2] == (0, 0)
        starts, finishes = events.of("trace_cancel_start"), events.of("trace_cancel_finish")
        assert len(starts) == len(finishes) == int(was_alive)
        for finish in finishes:
            assert (finish.trace_pending, finish.trace_inflight) == (0, 0)
        # The id is usable again, and so are the workers.
        expected = plan.arrivals(2)
        emitting = asyncio.create_task(flow.emit(message(2, trace_id="t")))
        got = [(await flow.fetch()).payload[0] for _ in range(expected.total())]
        await emitting
        assert Counter(got) == expected
        await flow.stop()

    asyncio.run(run())


# ---- stop ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(
    plan=plans(),
    count=st.integers(1, 6),
    stops=st.lists(st.integers(0, 12), max_size=4),
    maxsize=st.integers(0, 3),
)
def test_stop_at_any_moment_loses_nothing_and_doubles_no_result(
    plan: Plan, count: int, stops: list[int], maxsize: int
) -> None:
    plan = replace(plan, routers=(False,) * len(plan.targets))  # their emits are not held back
    expected: Counter[tuple[int, int]] = Counter()
    for payload in range(count):
        for leaf, times in plan.arrivals(payload).items():
            expected[leaf, payload] += times

    async def run() -> Counter[tuple[int, int]]:
        flow = build(plan, maxsize=maxsize, yields=True)

        async def feed() -> None:
            for payload in range(count):
                await flow.emit(message(payload, trace_id=f"t{payload}"))

        feeding = asyncio.create_task(feed())
        for ticks in stops:
            flow.run()
            await settle(ticks)
            await flow.stop()
        flow.run()
        got = Counter([(await flow.fetch()).payload for _ in range(expected.total())])
        await feeding
        assert await flow.stop(drain=10) == 0
        assert forgotten(flow)
        return got

    assert asyncio.run(run()) == expected


# ---- memory --------------------------------------------------------------------------------------


WARM_UP = 6_000
"""Traces after which as many cancelled ones are remembered as ever will be."""


async def trips(flow: PenguiFlow, start: int, count: int) -> None:
    """Traces of all kinds: round trips, plain ones, cancelled ones, streams, failures."""
    for number in range(start, start + count):
        trace_id = f"trace-{number}"
        kind = number % 5
        if kind == 0:
            await flow.emit(message("pass"), trace_id=trace_id)
            await flow.fetch(trace_id=trace_id)
        elif kind == 1:
            await flow.emit(message("pass", trace_id=trace_id))
            await flow.fetch()
        elif kind == 2:
            await flow.emit(message("pass"), trace_id=trace_id)
            await asyncio.sleep(0)
            flow.ensure_trace_event(trace_id)
            assert await flow.cancel(trace_id)
        elif kind == 3:
            await flow.emit(message("stream"), trace_id=trace_id)
            for _ in range(3):
                await flow.fetch(trace_id=trace_id)
        else:
            await flow.emit(message("drop"), trace_id=trace_id)
    await settle(100)


async def soak(count: int) -> None:
    async def work(msg: Any, ctx: Any) -> Any:
        if msg.payload == "drop":
            return None
        if msg.payload == "stream":
            for i in range(3):
                await ctx.emit_chunk(parent=msg, text="x", done=i == 2, to="Rookery")
            return None
        return msg

    first = Node(work, name="work", policy=NodePolicy(validate="none"))
    flow = create(first.to(passing("end")))
    flow.run()
    tracemalloc.start()
    try:
        await trips(flow, 0, WARM_UP)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        await trips(flow, WARM_UP, count)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert forgotten(flow)
    await flow.stop()
    assert grown < 100_000, f"{grown} bytes more after {count} traces"


async def test_nothing_grows_with_finished_traces() -> None:
    await soak(2_000)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_nothing_grows_with_many_finished_traces() -> None:
    await soak(100_000)
