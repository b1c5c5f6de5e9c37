"""One flow, its inputs and its failures, over three kinds of edges: the same history over each.

The local queues, the in-memory log and JetStream have nothing in common but the engine above them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penguiflow import FlowError, FlowEvent, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.routers import predicate_router
from tests.contract.engine.flows import message
from tests.contract.engine.houses import MemoryHouse, NatsHouse

RETRIES = 1
KINDS = {"node_start", "node_success", "node_error", "node_retry", "node_failed"}


@dataclass(frozen=True)
class Plan:
    """A graph without cycles, which of its nodes route, and how often which node fails."""

    targets: tuple[tuple[int, ...], ...]
    """Successors of each node, all with a higher number."""
    routers: tuple[bool, ...]
    failures: tuple[int, ...]
    """How many attempts of each node fail on every third payload; above `RETRIES` all do."""

    def routes(self, node: int) -> bool:
        return self.routers[node] and bool(self.targets[node])

    def chosen(self, node: int, payload: int) -> list[int]:
        """Where a router sends a message."""
        return [
            t for position, t in enumerate(self.targets[node]) if (payload + node) >> position & 1
        ]

    def fails(self, node: int, payload: int, attempt: int) -> bool:
        return (payload + node) % 3 == 0 and attempt < self.failures[node]


@dataclass
class History:
    """What one run was seen to do."""

    results: Counter[Any]
    events: Counter[tuple[str, str, int]]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    size = draw(st.integers(1, 5))
    targets = []
    for node in range(size):
        later = range(node + 1, size)
        chosen = st.lists(st.sampled_from(later), unique=True, max_size=3) if later else st.just([])
        targets.append(tuple(draw(chosen)))
    routers = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    failures = draw(st.lists(st.integers(0, RETRIES + 1), min_size=size, max_size=size))
    return Plan(tuple(targets), tuple(routers), tuple(failures))


def working(plan: Plan, number: int) -> Node:
    """Adds itself to the path of the payload, unless it fails."""

    async def work(msg: Message, ctx: Any) -> Message:
        first, *path = msg.payload
        if plan.fails(number, first, ctx.attempt):
            failure = f"attempt {ctx.attempt} of n{number}"
            raise ValueError(failure)
        return msg.model_copy(update={"payload": [first, *path, number]})

    policy = NodePolicy(validate="none", max_retries=RETRIES, backoff_base=0.001)
    return Node(work, name=f"n{number}", policy=policy)


def routing(plan: Plan, number: int) -> Node:
    def choose(msg: Message) -> list[str]:
        return [f"n{target}" for target in plan.chosen(number, msg.payload[0])]

    return predicate_router(f"n{number}", choose)


def build(plan: Plan, seen: Counter[tuple[str, str, int]]) -> PenguiFlow:
    async def see(event: FlowEvent) -> None:
        if event.event_type in KINDS:
            seen[event.event_type, str(event.node_name), event.attempt] += 1

    nodes = [
        routing(plan, number) if plan.routes(number) else working(plan, number)
        for number in range(len(plan.targets))
    ]
    pairs = [node.to(*[nodes[t] for t in plan.targets[n]]) for n, node in enumerate(nodes)]
    return create(*pairs, middlewares=[see], name="agree")


def path_of(result: Message) -> tuple[int, ...]:
    return tuple(result.payload)


async def over_queues(plan: Plan, count: int) -> History:
    history = History(Counter(), Counter())
    flow = build(plan, history.events)
    flow.run()
    for payload in range(count):
        await flow.emit(message([payload], trace_id=f"t{payload}"))
    await flow.stop(drain=30)
    while True:
        try:
            async with asyncio.timeout(0):
                history.results[path_of(await flow.fetch())] += 1
        except TimeoutError:
            return history


async def over_a_log(house: MemoryHouse | NatsHouse, plan: Plan, count: int) -> History:
    history = History(Counter(), Counter())
    try:
        if isinstance(house, NatsHouse):
            await house.start()
        await house.worker(build(plan, history.events), lease=30)
        client = await house.client(build(plan, Counter()))
        ids = [
            await client.emit(message([payload], trace_id=f"t{payload}"))
            for payload in range(count)
        ]
        for trace_id in ids:
            while True:
                try:
                    result = await client.fetch(trace_id=trace_id, timeout=30)
                except (LookupError, FlowError):  # complete, or failed: there is no further result
                    break
                history.results[path_of(result)] += 1
    finally:
        await house.close()
    return history


@pytest.mark.timeout(300)
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans(), count=st.integers(1, 6))
def test_all_edges_agree_on_every_history(plan: Plan, count: int) -> None:
    async def run() -> tuple[History, History, History]:
        return (
            await over_queues(plan, count),
            await over_a_log(MemoryHouse(), plan, count),
            await over_a_log(NatsHouse(), plan, count),
        )

    queues, memory, jetstream = asyncio.run(run())
    assert memory == queues
    assert jetstream == queues
