"""A join over workers is emitted once, and ends with a reason when a branch is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from penguiflow import Context, FlowError, Message, Node, create
from penguiflow.durable.client import DurableClient
from penguiflow.durable.ledger import TraceStatus
from penguiflow.durable.log import Kind, LogUnavailable, Pattern, Stored
from penguiflow.durable.topology import everything
from penguiflow.patterns import join_k
from tests.contract.engine.flows import (
    PLAIN,
    answer,
    message,
    split,
    total,
)
from tests.contract.engine.houses import House


async def test_a_join_with_a_lost_branch_ends_with_a_reason(house: House) -> None:
    async def pick(msg: Message, ctx: Context) -> Message:
        if msg.payload == 1:
            raise ValueError("this one is broken")
        await asyncio.sleep(0.02 * msg.payload)
        return answer(msg, msg.payload)

    first, middle = Node(split, policy=PLAIN), Node(pick, policy=PLAIN)
    join, last = join_k("join", 3), Node(total, policy=PLAIN)
    flow = create(first.to(middle), middle.to(join), join.to(last), name="lossy")
    await house.worker(flow)
    await house.worker(flow)
    client = await house.client(flow)
    messages = [message(3) for _ in range(5)]
    for msg in messages:
        await client.emit(msg)
    for msg in messages:
        with pytest.raises(FlowError, match=r"this one is broken|waits for a branch that was lost"):
            await client.fetch(trace_id=msg.trace_id, timeout=30)
        for _ in range(200):
            if (await client.status(msg.trace_id)).is_terminal:
                break
            await asyncio.sleep(0.02)
        books = await client.books(msg.trace_id)
        assert books.status is TraceStatus.FAILED
        codes = sorted(str((e.envelope.error or {})["code"]) for e in books.failures if e.envelope)
        assert codes == ["JOIN_INCOMPLETE", "NODE_EXCEPTION"]


async def test_a_complete_join_is_not_ended_by_a_branch_lost_beside_it(house: House) -> None:
    async def pick(msg: Message, ctx: Context) -> Message:
        if msg.payload == 0:
            raise ValueError("this one is broken")
        return answer(msg, msg.payload)

    first, middle = Node(split, policy=PLAIN), Node(pick, policy=PLAIN)
    join, last = join_k("join", 2), Node(total, policy=PLAIN)
    flow = create(first.to(middle), middle.to(join), join.to(last), name="lossy")
    await house.worker(flow)
    await house.worker(flow)
    client = await house.client(flow)
    messages = [message(3) for _ in range(5)]
    for msg in messages:
        await client.emit(msg)
    for msg in messages:
        assert (await client.fetch(trace_id=msg.trace_id, timeout=30)).payload == 3


async def test_a_look_that_failed_is_repeated_and_ends_the_join(house: House) -> None:
    lost = asyncio.Event()

    async def pick(msg: Message, ctx: Context) -> Message:
        if msg.payload == 1:
            raise ValueError("this one is broken")
        await lost.wait()
        return answer(msg, msg.payload)

    first, middle = Node(split, policy=PLAIN), Node(pick, policy=PLAIN)
    join, last = join_k("join", 3), Node(total, policy=PLAIN)
    flow = create(first.to(middle), middle.to(join), join.to(last), name="lossy")
    client = await house.client(flow)
    msg = message(3)
    await client.emit(msg)
    before = await house.worker(flow, nodes=["split", "pick"])
    await _written(client, msg.trace_id, Kind.LOST)
    lost.set()
    await _written(client, msg.trace_id, Kind.RECORD, 4)  # all has happened but the join
    await before.stop()
    joining = await house.worker(flow, nodes=["join"], concurrency=1)
    read, failed = joining.log.read, []

    async def fails_at_first(patterns: Sequence[Pattern]) -> list[Stored]:
        if patterns == everything(msg.trace_id) and len(failed) < 3:
            failed.append(patterns)
            raise LogUnavailable("the look does not come back")
        return await read(patterns)

    joining.log.read = fails_at_first  # type: ignore[method-assign]
    async with asyncio.timeout(30):
        while not (await client.status(msg.trace_id)).is_terminal:
            await asyncio.sleep(0.02)
    assert failed
    assert await client.status(msg.trace_id) is TraceStatus.FAILED


async def _written(client: DurableClient, trace_id: str, kind: Kind, count: int = 1) -> None:
    async with asyncio.timeout(30):
        while True:
            entries = (await client.books(trace_id)).entries
            if len([e for e in entries if e.stored.key.kind is kind]) >= count:
                return
            await asyncio.sleep(0.02)
