"""A graph that changed under its version: what waits for removed nodes is reported and moved."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from penguiflow import PenguiFlow
from penguiflow.durable.client import DurableClient
from penguiflow.durable.ledger import Books, TraceStatus
from penguiflow.durable.stranded import Stranded, move, stranded_in
from penguiflow.durable.topology import Topology
from penguiflow_nats import runtime
from penguiflow_nats.connection import Connection
from penguiflow_nats.doctor import Case, diagnose, look
from penguiflow_nats.provisioning import TopologyDrift
from penguiflow_nats.server import EmbeddedServer
from tests.integration.redrive.desk import Desk, Sickness
from tests.support.flows import chain, node, passing


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as started:
        yield started


def renamed(work: Sickness, name: str) -> PenguiFlow:
    return chain(passing("first"), node(work.treat, name), name="renamed")


async def waits(client: DurableClient, trace_id: str, entries: int) -> Books:
    """The books, once the trace has so many entries."""
    async with asyncio.timeout(30):
        while len((books := await client.books(trace_id)).entries) < entries:
            await asyncio.sleep(0.02)
    return books


async def stranded(flow: PenguiFlow, client: DurableClient, trace_id: str) -> list[Stranded]:
    return list(stranded_in(await client.books(trace_id), Topology(flow.graph)))


async def left_behind(server: EmbeddedServer, work: Sickness) -> str:
    """A trace whose input waits for the node "old", which was known to the server."""
    old = renamed(work, "old")
    async with runtime.worker(old, server.url):
        pass
    async with (
        runtime.worker(old, server.url, nodes=["first"]),
        runtime.client(old, server.url) as client,
    ):
        trace_id = await client.emit("work")
        await waits(client, trace_id, 2)
    return trace_id


async def test_what_waits_for_a_removed_node_is_reported_and_moved(
    server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    work = Sickness()
    work.is_ill = False
    trace_id = await left_behind(server, work)
    new = renamed(work, "new")
    with caplog.at_level(logging.WARNING):
        async with (
            runtime.worker(new, server.url),
            runtime.client(new, server.url) as client,
            runtime.connected(server.url) as connection,
        ):
            assert "stranded_at_removed_node" in caplog.text
            finding = await _orphan(connection, new)
            assert finding.severity == "error"
            assert "has no node old; 1 entries wait" in finding.evidence
            (found,) = await stranded(new, client, trace_id)
            assert found.node == "old"
            assert await move(client.log, found, "new", by="test")
            assert await client.fetch(trace_id=trace_id, timeout=30) == "work"
            assert await client.status(trace_id) is TraceStatus.COMPLETED
            assert not await stranded(new, client, trace_id)
            assert (await Desk(new, connection, client).audit(trace_id)).is_clean
    # A worker of the old graph that wakes up after all finds it answered.
    async with runtime.worker(renamed(work, "old"), server.url, nodes=["old"]) as late:
        async with asyncio.timeout(30):
            while await _waiting(late.log, "old"):
                await asyncio.sleep(0.02)
    assert work.results.count("work") <= 2
    async with runtime.client(new, server.url) as client:
        assert len((await client.books(trace_id)).results) == 1


async def _waiting(log: Any, node_token: str) -> int:
    info = await log.jetstream.consumer_info(log.names.log_stream, log.names.consumer(node_token))
    return info.num_pending + info.num_ack_pending


async def _orphan(connection: Connection, flow: PenguiFlow) -> Any:
    case = Case(flow=flow)
    facts = await look(connection, case, interval=0)
    return next(f for f in diagnose(facts, case) if f.id == "consumer-orphan")


async def test_a_move_that_was_cut_off_is_completed(server: EmbeddedServer) -> None:
    work = Sickness()
    work.is_ill = False
    trace_id = await left_behind(server, work)
    new = renamed(work, "new")

    class Cut:
        """Takes the record, and dies."""

        def __init__(self, log: Any) -> None:
            self._log = log
            self._written = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._log, name)

        async def append(self, *args: Any, **options: Any) -> int:
            self._written += 1
            if self._written > 1:
                raise ConnectionError
            return await self._log.append(*args, **options)

    async with runtime.worker(new, server.url), runtime.client(new, server.url) as client:
        (found,) = await stranded(new, client, trace_id)
        with pytest.raises(ConnectionError):
            await move(Cut(client.log), found, "new", by="test")  # type: ignore[arg-type]
        (half,) = await stranded(new, client, trace_id)
        assert half.record is not None
        assert await move(client.log, half, "new", by="test")
        assert await client.fetch(trace_id=trace_id, timeout=30) == "work"
        assert work.results == ["work"]


async def test_a_cancelled_trace_has_nothing_to_move(server: EmbeddedServer) -> None:
    work = Sickness()
    trace_id = await left_behind(server, work)
    new = renamed(work, "new")
    async with runtime.client(new, server.url) as client:
        (found,) = await stranded(new, client, trace_id)
        assert await client.cancel(trace_id)
        assert not await stranded(new, client, trace_id)
        assert not await move(client.log, found, "new", by="test")


async def test_a_node_that_reads_a_parent_no_more_is_not_robbed_in_silence(
    server: EmbeddedServer,
) -> None:
    """The middle is removed while its record waits for the last node."""
    work = Sickness()
    work.is_ill = False
    middle, last = passing("middle"), node(work.treat, "last")
    old = chain(passing("first"), middle, last, name="shorter")
    async with runtime.worker(old, server.url):
        pass
    async with (
        runtime.worker(old, server.url, nodes=["first", "middle"]),
        runtime.client(old, server.url) as client,
    ):
        trace_id = await client.emit("work")
        await waits(client, trace_id, 3)
    new = chain(passing("first"), node(work.treat, "last"), name="shorter")
    with pytest.raises(TopologyDrift, match=r"filter_subjects is .*rec.*middle.*1 entries wait"):
        async with runtime.worker(new, server.url):
            pass
    async with runtime.client(new, server.url) as client:
        (found,) = await stranded(new, client, trace_id)
        assert found.node == "last"
        assert await move(client.log, found, "last", by="test")
        async with runtime.worker(old, server.url, nodes=["last"]):
            assert await client.fetch(trace_id=trace_id, timeout=30) == "work"
        async with runtime.worker(new, server.url):  # nothing waits any more
            assert len((await client.books(trace_id)).results) == 1
