"""A log without room slows its producers down; nothing is lost, nothing is taken for done."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow import Context, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.clock import SYSTEM_CLOCK
from penguiflow.durable.client import DurableClient
from penguiflow.durable.keeper import Keeper
from penguiflow.durable.ledger import TraceStatus
from penguiflow.durable.log import Key, Kind, LogFull, Pattern
from penguiflow.durable.topology import flow_token
from penguiflow_nats import runtime
from penguiflow_nats.connection import Connection
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.streams import Storage
from tests.integration.durable.app import message

SMALL = Storage(log_bytes=400_000, object_bytes=2_000_000)


def single(func: Any) -> PenguiFlow:
    node = Node(func, name="only", policy=NodePolicy(validate="none"))
    return create(node.to(), name="full")


async def open_log(connection: Connection, flow: PenguiFlow, **options: Any) -> JetStreamLog:
    name = flow_token(flow.graph, flow.name, flow.version)
    return await JetStreamLog.open(connection, flow=options.get("name", name), storage=SMALL)


async def fill(log: JetStreamLog) -> None:
    """Write until there is no room for anything of a hundred bytes."""
    for size in (50_000, 5_000, 500, 50):
        for number in range(10_000):
            try:
                await log.append(Key(Kind.RECORD, "filler", "n", f"{size}_{number}"), bytes(size))
            except LogFull:
                break


async def test_a_producer_that_is_too_fast_is_slowed_down(server: EmbeddedServer) -> None:
    handled: list[int] = []

    async def node(msg: Message, ctx: Context) -> Message:
        await asyncio.sleep(0.002)
        handled.append(msg.payload[0])
        return msg.model_copy(update={"payload": None})

    flow = single(node)
    async with runtime.connected(server.url) as connection:
        log = await open_log(connection, flow)
        refused = 0
        append = log.append

        async def counted(*args: Any, **conditions: Any) -> int:
            nonlocal refused
            try:
                return await append(*args, **conditions)
            except LogFull:
                refused += 1
                raise

        log.append = counted  # type: ignore[method-assign]
        keeper = Keeper(log, clock=SYSTEM_CLOCK, retention=0.0)
        async with (
            runtime.worker(flow, connection, retention=None),
            DurableClient(flow, log, patience=60) as client,
        ):
            numbers = list(range(300))
            emitting = asyncio.gather(
                *(client.emit(message((number, "x" * 4000))) for number in numbers)
            )
            async with asyncio.timeout(90):
                while not emitting.done() or len(set(handled)) < len(numbers):
                    await keeper.round()
                    await asyncio.sleep(0.02)
            await emitting
        assert refused > 0
        assert sorted(set(handled)) == numbers


async def test_a_producer_whose_patience_ends_is_told(server: EmbeddedServer) -> None:
    async def node(msg: Message, ctx: Context) -> Message:
        return msg

    flow = single(node)
    async with runtime.connected(server.url) as connection:
        log = await open_log(connection, flow)
        await fill(log)
        async with DurableClient(flow, log, patience=0.2) as client:
            with pytest.raises(LogFull):
                await client.emit(message("x"))
            await log.purge("filler")
            async with asyncio.timeout(30):
                assert await client.emit(message("x"))


async def test_a_result_that_finds_no_room_is_committed_when_there_is_some(
    server: EmbeddedServer,
) -> None:
    """The refusal has the code of "done before"; the input must not be settled for it."""
    runs = 0

    async def node(msg: Message, ctx: Context) -> Message:
        nonlocal runs
        runs += 1
        return msg.model_copy(update={"payload": "y" * 2000})

    flow = single(node)
    async with runtime.connected(server.url) as connection:
        log = await open_log(connection, flow)
        other = await open_log(connection, flow, name="filler-1")
        async with DurableClient(flow, log) as client:
            trace = await client.emit(message("x"))
            await fill(other)
            async with runtime.worker(flow, connection, retention=None):
                async with asyncio.timeout(30):
                    while runs < 2:
                        await asyncio.sleep(0.02)
                assert await client.status(trace) is TraceStatus.RUNNING
                assert await log.read([Pattern(kind=Kind.RECORD)]) == []
                await other.purge("filler")
                result = await client.fetch(trace_id=trace, timeout=30)
                assert result.payload == "y" * 2000


async def test_no_room_for_large_values_is_no_room(server: EmbeddedServer) -> None:
    async def node(msg: Message, ctx: Context) -> Message:
        return msg

    flow = single(node)
    async with runtime.connected(server.url) as connection:
        log = await open_log(connection, flow)
        async with DurableClient(flow, log, patience=0.2) as client:
            with pytest.raises(LogFull, match="no room for large values"):
                await client.emit(message("x" * 3_000_000))
            assert await log.read([Pattern()]) == []
            async with runtime.worker(flow, connection, retention=None):
                sent = message("x" * 1_000_000)
                assert (await client.round_trip(sent, timeout=30)).payload == sent.payload
