"""What is for later is delivered once, at its time and not before, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import time

import pytest

from penguiflow import Context, FinalAnswer, FlowError, Message, Node, create
from penguiflow.context import Context as FlowContext
from penguiflow.durable.audit import audit_trace
from penguiflow.durable.fold import Fold
from penguiflow.durable.ledger import TraceStatus
from penguiflow.durable.log import Kind, Pattern
from penguiflow.durable.tokens import trace_token
from tests.contract.engine.flows import PLAIN, answer, message, single
from tests.contract.engine.houses import House


async def stamp(msg: Message, ctx: Context) -> Message:
    return answer(msg, time.time())


async def test_a_submission_is_delivered_at_its_time_and_not_before(house: House) -> None:
    flow = single(stamp)
    await house.worker(flow)
    client = await house.client(flow)
    began = time.time()
    msg = message(0)
    await client.emit(msg, delay_s=0.7)
    assert await client.status(msg.trace_id) is TraceStatus.RUNNING
    result = await client.fetch(trace_id=msg.trace_id, timeout=30)
    assert result.payload - began >= 0.69
    assert await client.status(msg.trace_id) is TraceStatus.COMPLETED


async def test_no_delay_and_a_past_one_are_delivered_at_once(house: House) -> None:
    flow = single(stamp)
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(0)
    await client.emit(msg, delay_s=0.0)
    await client.fetch(trace_id=msg.trace_id, timeout=30)
    for delay in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="must be a number from 0 on"):
            await client.emit(message(0), delay_s=delay)


async def remind(msg: Message, ctx: FlowContext) -> None:
    began = time.time()
    await ctx.emit(answer(msg, ("later", began)), delay_s=0.7)
    await ctx.emit(answer(msg, ("now", began)))


async def since(msg: Message, ctx: Context) -> Message:
    what, began = msg.payload
    return answer(msg, (what, time.time() - began))


async def test_an_output_is_delivered_at_its_time_and_others_at_once(house: House) -> None:
    first, last = Node(remind, policy=PLAIN), Node(since, policy=PLAIN)
    flow = create(first.to(last), last.to(), name="reminder")
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(0)
    await client.emit(msg)
    now = (await client.fetch(trace_id=msg.trace_id, timeout=30)).payload
    later = (await client.fetch(trace_id=msg.trace_id, timeout=30)).payload
    assert (now[0], later[0]) == ("now", "later")
    assert later[1] >= 0.69
    assert await client.status(msg.trace_id) is TraceStatus.COMPLETED
    trace = trace_token(msg.trace_id)
    entries = await client.log.read([Pattern(trace=trace)])
    audit = audit_trace(trace, entries, now=client.log.server_time())
    assert (audit.sent, audit.settled, audit.findings) == (3, 3, [])


async def test_a_late_result_for_the_egress_alone_is_fetched(house: House) -> None:
    async def once(msg: Message, ctx: FlowContext) -> None:
        await ctx.emit(answer(msg, "late"), delay_s=0.5)

    flow = single(once)
    await house.worker(flow)
    client = await house.client(flow)
    assert (await client.round_trip(message(0), timeout=30)).payload == "late"


async def test_what_waits_survives_the_death_of_every_worker(house: House) -> None:
    flow = single(stamp)
    worker = await house.worker(flow)
    client = await house.client(flow)
    began = time.time()
    messages = [message(0) for _ in range(20)]
    for msg in messages:
        await client.emit(msg, delay_s=2.0)
    await house.kill(worker)
    await house.worker(flow)
    for msg in messages:
        result = await client.fetch(trace_id=msg.trace_id, timeout=30)
        assert result.payload - began >= 1.9
        with pytest.raises(LookupError):
            await client.fetch(trace_id=msg.trace_id, timeout=30)


async def test_many_workers_deliver_each_timer_once(house: House) -> None:
    runs: list[str] = []

    async def count(msg: Message, ctx: Context) -> Message:
        runs.append(msg.trace_id)
        return msg

    flow = single(count)
    for _ in range(3):
        await house.worker(flow)
    client = await house.client(flow)
    messages = [message(0) for _ in range(100)]
    await asyncio.gather(*(client.emit(msg, delay_s=0.5) for msg in messages))
    for msg in messages:
        await client.fetch(trace_id=msg.trace_id, timeout=30)
    assert set(runs) == {msg.trace_id for msg in messages}
    for msg in messages:
        books = await client.books(msg.trace_id)
        assert [len(books.results), books.submissions] == [1, 1]


async def test_a_backlog_for_later_delays_nothing_that_is_for_now(house: House) -> None:
    flow = single(stamp)
    await house.worker(flow, concurrency=4)
    client = await house.client(flow)
    await asyncio.gather(*(client.emit(message(0), delay_s=3600) for _ in range(300)))
    await client.round_trip(message(0), timeout=30)


async def test_a_cancelled_trace_delivers_nothing_later(house: House) -> None:
    runs = 0

    async def count(msg: Message, ctx: Context) -> Message:
        nonlocal runs
        runs += 1
        return msg

    flow = single(count)
    await house.worker(flow)
    client = await house.client(flow)
    msg, other = message(0), message(0)
    await client.emit(msg, delay_s=0.6)
    await client.emit(other, delay_s=0.9)
    assert await client.cancel(msg.trace_id)
    await client.fetch(trace_id=other.trace_id, timeout=30)
    assert runs == 1
    assert await client.status(msg.trace_id) is TraceStatus.CANCELLED


async def test_what_waits_past_its_deadline_is_not_run(house: House) -> None:
    flow = single(stamp)
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(0, deadline_s=time.time() + 0.2)
    await client.emit(msg, delay_s=0.6)
    result = await client.fetch(trace_id=msg.trace_id, timeout=30)
    assert result.payload == FinalAnswer(text="Deadline exceeded")


async def test_the_same_submission_for_later_twice_is_one(house: House) -> None:
    flow = single(stamp)
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(0)
    for _ in range(2):
        await client.emit(msg, idempotency_key="order-1", delay_s=0.3)
    await client.fetch(trace_id=msg.trace_id, timeout=30)
    with pytest.raises(LookupError):
        await client.fetch(trace_id=msg.trace_id, timeout=30)


async def test_a_trace_that_waits_is_not_over(house: House) -> None:
    flow = single(stamp)
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(0)
    await client.emit(msg)
    await client.fetch(trace_id=msg.trace_id, timeout=30)
    await client.emit(msg, delay_s=1.0)
    trace = trace_token(msg.trace_id)
    fold, entries = Fold(), await client.log.read([Pattern(trace=trace)])
    for entry in entries:
        fold.add(entry)
    assert list(fold.over(float("inf"))) == []
    assert any(entry.key.kind is Kind.TIMER for entry in entries)
    hour_later = client.log.server_time() + 3600
    assert audit_trace(trace, entries, now=client.log.server_time()).open == 1
    assert audit_trace(trace, entries, now=hour_later).findings
    await client.fetch(trace_id=msg.trace_id, timeout=30)
    for entry in await client.log.read([Pattern(trace=trace)]):
        fold.add(entry)
    assert [over for over, _ in fold.over(float("inf"))] == [trace]


async def test_a_failure_behind_a_timer_is_a_failure(house: House) -> None:
    async def broken(msg: Message, ctx: Context) -> Message:
        raise ValueError("no")

    flow = single(broken)
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(0)
    await client.emit(msg, delay_s=0.2)
    with pytest.raises(FlowError, match="no"):
        await client.fetch(trace_id=msg.trace_id, timeout=30)
