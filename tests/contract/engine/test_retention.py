"""Finished traces are removed, live ones are not, and a log never fills up with submissions."""

from __future__ import annotations

import asyncio

import pytest

from penguiflow.clock import SYSTEM_CLOCK
from penguiflow.durable.keeper import Keeper
from penguiflow.durable.ledger import TraceStatus
from penguiflow.durable.log import Pattern
from tests.contract.engine.flows import Gate, message, single, sum_of_squares
from tests.contract.engine.houses import House


async def test_finished_traces_leave_the_log_and_live_ones_stay(house: House) -> None:
    gate = Gate()
    quick, slow = sum_of_squares(3), single(gate.node, name="slow")
    await house.worker(quick)
    await house.worker(slow)
    client, waiting = await house.client(quick), await house.client(slow)
    held = await waiting.emit(message(1))
    done = [message(3) for _ in range(5)]
    await asyncio.gather(*(client.round_trip(m, timeout=30) for m in done))
    await asyncio.wait_for(gate.started.wait(), 5)
    for found in (client, waiting):
        await Keeper(found.log, clock=SYSTEM_CLOCK, retention=0.0).round()  # type: ignore[arg-type]
    assert await client.log.read([Pattern()]) == []
    assert await waiting.status(held) is TraceStatus.RUNNING
    gate.open.set()
    assert (await waiting.fetch(trace_id=held, timeout=30)).payload == "done"


async def test_a_live_trace_keeps_only_itself(house: House) -> None:
    """Finished traces on both sides of a live one go, whole."""
    gate = Gate()

    async def node(msg, ctx):  # type: ignore[no-untyped-def]
        return await gate.node(msg, ctx) if msg.payload == "slow" else msg

    flow = single(node)
    await house.worker(flow)
    client = await house.client(flow)
    await client.round_trip(message("before"), timeout=30)
    held = await client.emit(message("slow"))
    await asyncio.wait_for(gate.started.wait(), 5)
    await client.round_trip(message("after"), timeout=30)
    keeper = Keeper(client.log, clock=SYSTEM_CLOCK, retention=0.0)  # type: ignore[arg-type]
    await keeper.round()
    assert {e.key.trace for e in await client.log.read([Pattern()])} == {held}
    gate.open.set()
    await client.fetch(trace_id=held, timeout=30)
    await keeper.round()
    assert await client.log.read([Pattern()]) == []


async def test_what_is_within_its_retention_stays(house: House) -> None:
    flow = sum_of_squares(3)
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(3)
    await client.round_trip(msg, timeout=30)
    keeper = Keeper(client.log, clock=SYSTEM_CLOCK, retention=60.0)  # type: ignore[arg-type]
    assert await keeper.round() == 0
    assert await client.status(msg.trace_id) is TraceStatus.COMPLETED


async def test_a_removed_trace_is_said_to_be_unknown_or_removed(house: House) -> None:
    flow = sum_of_squares(3)
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(3)
    await client.round_trip(msg, timeout=30)
    await Keeper(client.log, clock=SYSTEM_CLOCK, retention=0.0).round()  # type: ignore[arg-type]
    with pytest.raises(LookupError, match="never submitted, or was removed"):
        await client.fetch(trace_id=msg.trace_id, timeout=5)


async def test_one_round_at_a_time_is_claimed(house: House) -> None:
    flow = sum_of_squares(3)
    first, second = await house.log(flow), await house.log(flow)
    claims = [await log.claim_round(30.0) for log in (first, second)]  # type: ignore[attr-defined]
    assert claims == [True, False]
