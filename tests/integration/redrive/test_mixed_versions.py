"""Old and new workers on one stream."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penguiflow.durable.client import DurableClient
from penguiflow.durable.envelope import encode
from penguiflow.durable.fold import Fold
from penguiflow.durable.ledger import TraceStatus
from penguiflow.durable.log import Key, Kind
from penguiflow.durable.worker import DEFAULT_MAX_DELIVERIES, DurableWorker
from penguiflow_nats import runtime
from penguiflow_nats.dead_letters import NatsDeadLetters
from penguiflow_nats.letter_box import LetterBox
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.server import EmbeddedServer
from tests.integration.redrive.mixed_flow import flow

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as started:
        yield started


@asynccontextmanager
async def newer_worker(url: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.redrive.newer_worker",
        url,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.stdin.close()
        async with asyncio.timeout(30):
            await process.wait()


@asynccontextmanager
async def old_worker(url: str, **options: Any) -> AsyncIterator[DurableWorker]:
    async with runtime.connected(url) as connection:
        log = await JetStreamLog.open(connection, flow="mixed-1")
        letters = await NatsDeadLetters.open(log)
        async with DurableWorker(flow, log, letters, **options) as worker:
            yield worker


async def emit(client: DurableClient, value: int, *, version: int, fields: int = 99) -> str:
    """Submit as a client of another version does: with its number, and as many fields."""
    scratch = await client.emit(value, trace_id=f"scratch-{version}-{value}")
    (entry, *_) = (await client.books(scratch)).entries
    assert entry.envelope is not None
    trace = f"v{version}-{value}"
    wire = msgspec.msgpack.decode(encode(entry.envelope))
    wire[0], wire[3] = version, trace
    data = msgspec.msgpack.encode(wire[:fields])
    await client.log.append(Key(Kind.INGRESS, trace, input="x"), data)
    return trace


async def deliveries(client: DurableClient, trace: str) -> int:
    """How often an entry was delivered at least, by the notes that say so."""
    entries = (await client.books(trace)).entries
    notes = [e.stored.key.input for e in entries if e.stored.key.kind is Kind.NOTE]
    return max((int(note.rpartition("_")[2][:-1]) for note in notes), default=0)


async def letters(url: str) -> int:
    async with runtime.connected(url) as connection:
        return len([each async for each in LetterBox(connection).scan()])


async def test_newer_entries_reach_the_newer_worker_and_none_is_buried(
    server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with (
            old_worker(server.url, newer_delay=0.05),
            old_worker(server.url, newer_delay=0.05),
            runtime.client(flow, server.url) as client,
        ):
            traces = [await emit(client, n, version=9) for n in range(10)]
            assert await client.round_trip(4, timeout=30) == 8  # what is old goes on meanwhile
            async with asyncio.timeout(30):  # more deliveries than poison may have
                while await deliveries(client, traces[0]) < 2 * DEFAULT_MAX_DELIVERIES:
                    await asyncio.sleep(0.05)
            async with newer_worker(server.url):
                results = [await client.fetch(trace_id=t, timeout=30) for t in traces]
        assert results == [2 * n for n in range(10)]
        assert await letters(server.url) == 0
    assert "left_to_newer_worker" in caplog.text


async def test_waiting_for_a_newer_worker_has_an_end(server: EmbeddedServer) -> None:
    async with (
        old_worker(server.url, newer_delay=0.05, newer_limit=0.3),
        runtime.client(flow, server.url) as client,
    ):
        await emit(client, 1, version=9)
        async with asyncio.timeout(30):
            while not await letters(server.url):
                await asyncio.sleep(0.05)
    async with runtime.connected(server.url) as connection:
        (buried,) = [each async for each in LetterBox(connection).scan()]
    assert buried.letter.reason == "too_new"
    assert "version 9" in buried.letter.detail


async def test_an_entry_of_an_older_writer_is_filled_in(server: EmbeddedServer) -> None:
    """Up to `client`: what came later has its default."""
    async with old_worker(server.url), runtime.client(flow, server.url) as client:
        trace_id = await emit(client, 3, version=1, fields=11)
        assert await client.fetch(trace_id=trace_id, timeout=30) == 6


async def test_an_older_keeper_removes_no_trace_that_it_cannot_read(
    server: EmbeddedServer,
) -> None:
    async with runtime.client(flow, server.url) as client:
        trace_id = await emit(client, 1, version=9)
        fold = Fold()
        for entry in (await client.books(trace_id)).entries:
            fold.add(entry.stored)
        assert list(fold.over(float("inf"))) == []
        assert await client.status(trace_id) is TraceStatus.RUNNING
