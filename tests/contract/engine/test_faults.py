"""Nothing is lost or done twice when workers die, fail or stop."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

import pytest

from penguiflow import Context, FinalAnswer, FlowError, Message
from penguiflow.durable.lane import Lane
from penguiflow.durable.log import Consumption, Kind, LogDelivery
from penguiflow.durable.topology import everything
from tests.contract.engine.flows import (
    Gate,
    answer,
    message,
    single,
    square,
)
from tests.contract.engine.houses import LEASE, House


class LastOne(Consumption):
    """A consumption with a delivery that arrives just before it stops."""

    def __init__(self, consumption: Consumption, arrive: Callable[[], None]) -> None:
        self.release, self.pause = consumption.release, consumption.pause  # type: ignore[method-assign]
        self.backlog = consumption.backlog  # type: ignore[method-assign]
        self._consumption, self._arrive = consumption, arrive

    async def stop(self) -> None:
        self._arrive()
        await self._consumption.stop()


async def test_the_input_of_a_dead_worker_goes_to_another_one(house: House) -> None:
    gate = Gate()
    flow = single(gate.node)
    first = await house.worker(flow)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    await asyncio.wait_for(gate.started.wait(), 5)
    await house.kill(first)
    gate.open.set()
    await house.worker(flow)
    assert (await client.fetch(trace_id=trace_id, timeout=30)).payload == "done"
    books = await client.books(trace_id)
    (record,) = [e for e in books.entries if e.stored.key.kind is Kind.RECORD]
    assert record.envelope is not None
    assert record.envelope.delivered == 2


async def test_two_runs_of_one_input_commit_one_result(house: House) -> None:
    """Outputs that are not the same in each run: everything derives from the committed one."""

    async def roll(msg: Message, ctx: Context) -> None:
        for _ in range(3):
            await ctx.emit(answer(msg, uuid.uuid4().hex))
        await asyncio.sleep(1.0)

    flow = single(roll)
    first = await house.worker(flow, lease=0.6)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    await asyncio.sleep(0.3)
    # The first worker goes on with its run but cannot renew its lease any more.
    assert first._heart is not None
    first._heart.cancel()
    await house.worker(flow, lease=0.6)
    found = [(await client.fetch(trace_id=trace_id, timeout=30)).payload for _ in range(3)]
    assert len(set(found)) == 3
    await asyncio.sleep(1.5)
    books = await client.books(trace_id)
    assert [client.codec.unpack_output(client._output(e)).payload for e in books.results] == found
    assert len([e for e in books.entries if e.stored.key.kind is Kind.RECORD]) == 1


async def test_a_retry_happens_and_is_counted(house: House) -> None:
    attempts = []

    async def flaky(msg: Message, ctx: Context) -> Message:
        attempts.append(ctx.attempt)
        if len(attempts) < 3:
            raise ConnectionError("not yet")
        return answer(msg, len(attempts))

    flow = single(flaky, max_retries=5, backoff_base=0.02)
    await house.worker(flow)
    client = await house.client(flow)
    result = await client.round_trip(message(1), timeout=30)
    assert attempts[0] == 0
    assert attempts == sorted(attempts)
    if house.calm:  # else it may also be delivered once more, which looks like a death
        assert result.payload == 3
        assert attempts == [0, 1, 2]


async def test_a_timeout_is_a_failure_with_its_code(house: House) -> None:
    gate = Gate()
    flow = single(gate.node, timeout_s=0.1)
    await house.worker(flow)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    with pytest.raises(FlowError, match=r"timed out after 0.10s"):
        await client.fetch(trace_id=trace_id, timeout=30)
    assert gate.cancelled == gate.runs >= 1
    if house.calm:  # else a commit that was not answered may be followed by another run
        assert gate.runs == 1


async def test_a_passed_deadline_is_answered_without_a_run(house: House) -> None:
    gate = Gate()
    flow = single(gate.node)
    await house.worker(flow)
    client = await house.client(flow)
    result = await client.round_trip(message(1, deadline_s=1.0), timeout=30)
    assert result.payload == FinalAnswer(text="Deadline exceeded")
    assert gate.runs == 0


async def test_stop_finishes_what_is_in_hand(house: House) -> None:
    gate = Gate()
    flow = single(gate.node)
    worker = await house.worker(flow)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    await asyncio.wait_for(gate.started.wait(), 5)
    stopping = asyncio.create_task(worker.stop(drain=5))
    await asyncio.sleep(0.05)
    gate.open.set()
    assert await stopping == 0
    assert (await client.fetch(trace_id=trace_id, timeout=30)).payload == "done"


async def test_stop_waits_for_what_arrives_while_it_stops(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input is on its way when the worker pauses, and arrives when the lanes had finished."""
    gate, on_its_way = Gate(), asyncio.Queue[LogDelivery]()
    flow = single(gate.node)
    deliver = Lane.deliver
    monkeypatch.setattr(Lane, "deliver", lambda lane, delivery: on_its_way.put_nowait(delivery))
    worker = await house.worker(flow, lease=60)
    (lane,) = worker.lanes
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    delivery = await asyncio.wait_for(on_its_way.get(), 30)
    assert lane.consumption is not None
    lane.consumption = LastOne(lane.consumption, lambda: deliver(lane, delivery))
    stopping = asyncio.create_task(worker.stop(drain=30))
    await asyncio.wait_for(gate.started.wait(), 30)
    assert not stopping.done()
    gate.open.set()
    assert await stopping == 0
    assert lane.in_hand == []
    if house.calm:
        assert (await client.fetch(trace_id=trace_id, timeout=30)).payload == "done"


async def test_stop_hands_back_what_it_cannot_finish(house: House) -> None:
    gate = Gate()
    flow = single(gate.node)
    lease = 60 if house.calm else LEASE
    worker = await house.worker(flow, lease=lease)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    await asyncio.wait_for(gate.started.wait(), 5)
    assert await worker.stop(drain=0.1) == 1
    gate.open.set()
    await house.worker(flow, lease=lease)
    assert (await client.fetch(trace_id=trace_id, timeout=30)).payload == "done"


async def test_everything_of_a_trace_can_be_read(house: House) -> None:
    flow = single(square)
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(3)
    await client.round_trip(msg, timeout=30)
    entries = await client.log.read(everything(msg.trace_id))
    assert [e.key.kind for e in entries] == [Kind.INGRESS, Kind.RECORD]


async def test_a_hand_back_by_a_drain_burns_no_attempt(house: House) -> None:
    attempts: list[int] = []
    started = asyncio.Event()
    hold = True

    async def node(msg: Message, ctx: Context) -> Message:
        attempts.append(ctx.attempt)
        started.set()
        if hold:
            await asyncio.Event().wait()
        if len(attempts) < 6:
            raise ConnectionError("not yet")
        return answer(msg, "done")

    flow = single(node, max_retries=2 if house.calm else 20, backoff_base=0.01)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    lease, deaths = (60, 2) if house.calm else (LEASE, 20)
    for _ in range(3):
        worker = await house.worker(flow, lease=lease, max_deliveries=deaths)
        await asyncio.wait_for(started.wait(), 30)
        started.clear()
        assert await worker.stop(drain=0.05) == 1
    hold = False
    await house.worker(flow, lease=lease, max_deliveries=deaths)
    assert (await client.fetch(trace_id=trace_id, timeout=30)).payload == "done"
    if house.calm:
        assert attempts == [0, 0, 0, 0, 1, 2]


async def test_attempts_of_a_dead_worker_are_counted(house: House) -> None:
    attempts: list[int] = []
    gate = Gate()

    async def node(msg: Message, ctx: Context) -> Message:
        attempts.append(ctx.attempt)
        if len(attempts) == 3:
            await gate.node(msg, ctx)
        raise ConnectionError("no")

    flow = single(node, max_retries=4, backoff_base=0.01)
    first = await house.worker(flow, lease=0.5)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    await asyncio.wait_for(gate.started.wait(), 5)
    await house.kill(first)
    await house.worker(flow, lease=0.5)
    with pytest.raises(FlowError):
        await client.fetch(trace_id=trace_id, timeout=30)
    # Two failures, the death of the worker as the third, two more.
    assert attempts == [0, 1, 2, 3, 4]
