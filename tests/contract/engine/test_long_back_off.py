"""A back-off longer than the lease is left to the log, spread, and costs one attempt."""

from __future__ import annotations

from typing import Any

from penguiflow import Context, Message
from penguiflow.durable.log import LogDelivery
from penguiflow.durable.worker import DurableWorker
from tests.contract.engine.flows import message, single
from tests.contract.engine.houses import House


class Spied(LogDelivery):
    """A delivery that notes for how long it is handed back."""

    def __init__(self, entry: LogDelivery, delays: list[float]) -> None:
        self._entry, self._delays = entry, delays
        self.stored, self.num_delivered = entry.stored, entry.num_delivered

    async def ack(self) -> None:
        await self._entry.ack()

    async def nak(self, delay: float = 0.0) -> None:
        self._delays.append(delay)
        await self._entry.nak(delay)

    async def term(self, reason: str) -> None:
        await self._entry.term(reason)

    def in_progress(self) -> None:
        self._entry.in_progress()


async def test_a_long_back_off_is_left_to_the_log_and_spread(house: House) -> None:
    attempts: list[int] = []

    async def flaky(msg: Message, ctx: Context) -> Message:
        attempts.append(ctx.attempt)
        if ctx.attempt < 1:
            raise ValueError("not yet")
        return msg

    flow = single(flaky, max_retries=3, backoff_base=1.0)
    log, delays = await house.log(flow), []
    worker = DurableWorker(flow, log, await house.letters(flow), lease=0.6)
    lane: Any = worker.lanes[0]
    take = lane.deliver
    lane.deliver = lambda entry: take(Spied(entry, delays))
    await worker.start()
    client = await house.client(flow)
    messages = [message(number) for number in range(8)]
    for msg in messages:
        await client.emit(msg)
    for msg in messages:
        await client.fetch(trace_id=msg.trace_id, timeout=30)
    if house.calm:  # else a commit that was not answered may be followed by another run
        assert sorted(attempts) == [0] * 8 + [1] * 8
        assert len(delays) == 8
    backed_off = [delay for delay in delays if delay >= 0.9]
    assert len(backed_off) >= 8
    assert all(delay <= 1.0 for delay in delays)
    assert len(set(delays)) > 1
    await worker.stop(drain=1)
