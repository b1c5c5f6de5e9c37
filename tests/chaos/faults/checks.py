"""What holds after every fault case."""

from __future__ import annotations

import asyncio
import math

from penguiflow.durable.audit import audit_trace
from penguiflow.durable.client import DurableClient
from penguiflow.durable.envelope import Envelope
from penguiflow.durable.ledger import TraceStatus
from penguiflow.durable.log import Kind
from penguiflow_nats.log import JetStreamLog

LIMIT = 40.0


async def settled(client: DurableClient, *nodes: str) -> None:
    """Wait until nothing waits and nothing is in hand."""
    log = client.log
    assert isinstance(log, JetStreamLog)
    async with asyncio.timeout(LIMIT):
        for node in nodes:
            while True:
                info = await log.jetstream.consumer_info(
                    log.names.log_stream, log.names.consumer(node)
                )
                if not info.num_pending and not info.num_ack_pending:
                    break
                await asyncio.sleep(0.05)


async def ended(client: DurableClient, trace: str) -> TraceStatus:
    """Wait for the end of a trace; returns its state."""
    async with asyncio.timeout(LIMIT):
        while not (status := await client.status(trace)).is_terminal:
            await asyncio.sleep(0.05)
    return status


async def records(client: DurableClient, trace: str, node: str = "") -> list[Envelope]:
    """The committed results of a trace, or of one node of it."""
    books = await client.books(trace)
    return [
        entry.envelope
        for entry in books.entries
        if entry.stored.key.kind is Kind.RECORD
        and entry.envelope is not None
        and node in ("", entry.envelope.node)
    ]


async def sound(client: DurableClient, trace: str, *joins: str) -> None:
    """One record per input, every output equal to it, one terminal state."""
    assert (await ended(client, trace)).is_terminal
    stored = [entry.stored for entry in (await client.books(trace)).entries]
    audit = audit_trace(trace, stored, now=math.inf, idle=0.0, joins=joins)
    assert [finding.detail for finding in audit.findings] == []
    assert audit.open == 0


async def committed(client: DurableClient, trace: str, count: int = 1) -> None:
    """Wait for so many records of a trace."""
    async with asyncio.timeout(LIMIT):
        while len(await records(client, trace)) < count:
            await asyncio.sleep(0.02)
