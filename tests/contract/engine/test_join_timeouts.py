"""A join that does not get all its messages in time ends with a reason, once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow import FlowError, Message, Node, PenguiFlow, create
from penguiflow.context import Context
from penguiflow.durable.audit import audit_trace
from penguiflow.durable.client import DurableClient
from penguiflow.durable.dead_letters import Reason
from penguiflow.durable.ledger import TraceStatus
from penguiflow.durable.log import Pattern
from penguiflow.durable.tokens import trace_token
from penguiflow.patterns import join_k
from tests.contract.engine.flows import PLAIN, answer, message, split, total
from tests.contract.engine.houses import House


class Slow:
    """Hands on number 0 at once, and the others when they are let go."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def node(self, msg: Message, ctx: Context) -> Message:
        if msg.payload:
            await self.open.wait()
        return answer(msg, msg.payload)


def joining(slow: Slow, k: Any, *, timeout_s: float = 0.5, **options: Any) -> PenguiFlow:
    first, middle = Node(split, policy=PLAIN), Node(slow.node, name="slow", policy=PLAIN)
    join, last = join_k("join", k, timeout_s=timeout_s), Node(total, policy=PLAIN)
    return create(first.to(middle), middle.to(join), join.to(last), name="timed", **options)


async def ended(client: DurableClient, msg: Message) -> TraceStatus:
    async with asyncio.timeout(30):
        while not (status := await client.status(msg.trace_id)).is_terminal:
            await asyncio.sleep(0.02)
    return status


async def test_a_join_that_is_complete_in_time_is_emitted_once(house: House) -> None:
    slow = Slow()
    slow.open.set()
    flow = joining(slow, 3, timeout_s=4.0)
    await house.worker(flow)
    await house.worker(flow)
    client = await house.client(flow)
    messages = [message(3) for _ in range(10)]
    for msg in messages:
        await client.emit(msg)
    for msg in messages:
        assert (await client.fetch(trace_id=msg.trace_id, timeout=30)).payload == 3
    await asyncio.sleep(4.2)  # past the timeout, which must change nothing
    for msg in messages:
        assert await client.status(msg.trace_id) is TraceStatus.COMPLETED


async def test_a_join_that_waits_too_long_ends_with_a_reason(house: House) -> None:
    slow = Slow()
    flow = joining(slow, 3)
    await house.worker(flow)
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(3)
    await client.emit(msg)
    with pytest.raises(FlowError, match="join 'join' has 1 of 3 messages") as caught:
        await client.fetch(trace_id=msg.trace_id, timeout=30)
    assert caught.value.code == "JOIN_TIMEOUT"
    assert caught.value.metadata == {"arrived": 1, "expected": 3}
    slow.open.set()
    assert await ended(client, msg) is TraceStatus.FAILED
    dead_letters = await house.letters(flow)
    async with asyncio.timeout(30):  # a letter follows its record, so the trace may end first
        while len(letters := await dead_letters.letters()) < 3:
            await asyncio.sleep(0.02)
    assert [letter.reason for letter in letters] == [Reason.JOIN_TIMEOUT] * 3
    assert len({letter.stored.key for letter in letters}) == 3
    trace = trace_token(msg.trace_id)
    entries = await client.log.read([Pattern(trace=trace)])
    audit = audit_trace(trace, entries, now=client.log.server_time(), joins={"join"})
    assert audit.findings == []
    assert audit.open == 0


async def test_errors_as_results_are_fetched_at_once(house: House) -> None:
    slow = Slow()
    flow = joining(slow, 2, emit_errors_to_rookery=True)
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(2)
    await client.emit(msg)
    result = await client.fetch(trace_id=msg.trace_id, timeout=30)
    assert isinstance(result, FlowError)
    assert result.code == "JOIN_TIMEOUT"
    slow.open.set()
    await ended(client, msg)


async def test_a_join_of_as_many_as_the_trace_says_times_out(house: House) -> None:
    slow = Slow()
    flow = joining(slow, lambda msg: 4)
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(4)
    await client.emit(msg)
    with pytest.raises(FlowError, match="1 of 4"):
        await client.fetch(trace_id=msg.trace_id, timeout=30)
    slow.open.set()
    assert await ended(client, msg) is TraceStatus.FAILED


async def test_the_timeout_survives_the_death_of_every_worker(house: House) -> None:
    slow = Slow()
    flow = joining(slow, 2)
    worker = await house.worker(flow)
    client = await house.client(flow)
    msg = message(2)
    await client.emit(msg)
    async with asyncio.timeout(30):
        while not any(
            entry.envelope is not None and entry.envelope.node == "join"
            for entry in (await client.books(msg.trace_id)).entries
        ):
            await asyncio.sleep(0.02)
    await house.kill(worker)
    await house.worker(flow, nodes=["total"])
    with pytest.raises(FlowError, match="1 of 2"):
        await client.fetch(trace_id=msg.trace_id, timeout=30)


async def test_timeouts_and_completions_race_to_one_end_each(house: House) -> None:
    """Branches come at about the time the join gives up; every trace ends in one way."""

    async def pick(msg: Message, ctx: Context) -> Message:
        if msg.payload:
            await asyncio.sleep(0.5)
        return answer(msg, msg.payload)

    first, middle = Node(split, policy=PLAIN), Node(pick, policy=PLAIN)
    join, last = join_k("join", 3, timeout_s=0.5), Node(total, policy=PLAIN)
    flow = create(first.to(middle), middle.to(join), join.to(last), name="racing")
    await house.worker(flow)
    await house.worker(flow)
    client = await house.client(flow)
    messages = [message(3) for _ in range(40)]
    for msg in messages:
        await client.emit(msg)
    for msg in messages:
        status = await ended(client, msg)
        books = await client.books(msg.trace_id)
        assert (status is TraceStatus.COMPLETED) == (len(books.results) == 1)
        trace = trace_token(msg.trace_id)
        entries = [entry.stored for entry in books.entries]
        audit = audit_trace(trace, entries, now=client.log.server_time(), joins={"join"})
        assert audit.findings == []


def test_a_timeout_must_be_positive() -> None:
    for timeout in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="timeout_s must be positive"):
            join_k("join", 2, timeout_s=timeout)
