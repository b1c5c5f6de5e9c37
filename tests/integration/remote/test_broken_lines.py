"""Calls outlive broken lines, deaths at every moment, and floods."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penguiflow import Node
from penguiflow.remote import RemoteTaskFailed
from penguiflow_nats.agent import serve
from penguiflow_nats.agent_delivery import CallDelivery
from penguiflow_nats.answer import NatsStreamEvent
from penguiflow_nats.call_errors import ReplyGap
from penguiflow_nats.call_subjects import CallNames
from penguiflow_nats.connection import Connection
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.transport import NatsTransport
from tests.integration.remote.agent_app import agent
from tests.integration.remote.calls import AGENT, eventually, request
from tests.integration.remote.conftest import StartReplica
from tests.support.proxy import FaultProxy


@pytest.fixture
async def proxy(server: EmbeddedServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(int(server.url.rsplit(":", 1)[1])) as proxy:
        yield proxy


def through(proxy: FaultProxy) -> ConnectionSettings:
    return ConnectionSettings(servers=(proxy.url,), ping_interval=0.2)


def numbers(events: list[NatsStreamEvent]) -> list[str]:
    return [event.text for event in events if event.text]


async def disturbed(proxy: FaultProxy, fault: str) -> None:
    if fault == "cut":
        proxy.cut()
        return
    proxy.black_hole()
    await asyncio.sleep(1.0)
    proxy.heal()
    proxy.cut()


@pytest.mark.parametrize("fault", ["cut", "black hole"])
async def test_a_line_of_the_caller_that_breaks_costs_no_event(
    server: EmbeddedServer, proxy: FaultProxy, fault: str
) -> None:
    events: list[NatsStreamEvent] = []
    fate = None
    async with (
        asyncio.timeout(50),
        agent.serve(server.url),
        NatsTransport(through(proxy), unreachable=30.0) as transport,
    ):
        async for event in transport.stream(request("count", {"n": 300, "pause": 0.005})):
            events.append(event)
            if len(events) == 30:
                fate = asyncio.ensure_future(disturbed(proxy, fault))
        assert fate is not None
        await fate
    assert numbers(events) == [str(n) for n in range(300)]
    assert not any(event.restarted for event in events)


@pytest.mark.parametrize("fault", ["cut", "black hole"])
async def test_a_line_of_the_agent_that_breaks_costs_no_event(
    server: EmbeddedServer, transport: NatsTransport, proxy: FaultProxy, fault: str
) -> None:
    """Its lease may end meanwhile: then it, or another replica, begins anew and says so."""
    events: list[NatsStreamEvent] = []
    fate = None
    async with asyncio.timeout(50), agent.serve(through(proxy)):
        async for event in transport.stream(request("count", {"n": 300, "pause": 0.005})):
            events.append(event)
            if len(events) == 30:
                fate = asyncio.ensure_future(disturbed(proxy, fault))
        assert fate is not None
        await fate
    last = max((index for index, event in enumerate(events) if event.restarted), default=0)
    assert numbers(events[last:]) == [str(n) for n in range(300)]


async def test_a_replica_that_dies_before_its_first_word_is_replaced(
    transport: NatsTransport, start_replica: StartReplica, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    first = await start_replica()
    call = request("once", {"note": str(note), "seconds": 1.0}, task_id="t")
    async with asyncio.timeout(30):
        sent = asyncio.ensure_future(transport.send(call))
        await eventually(note.exists)
        first.kill()
        await start_replica()
        assert (await sent).result == "t"
    assert note.read_text().splitlines() == ["ran t", "ran t"]


async def test_a_replica_that_dies_between_the_end_and_its_ack_is_not_repeated(
    server: EmbeddedServer,
    transport: NatsTransport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    note, acked = tmp_path / "note", list[int]()
    ack = CallDelivery.ack

    async def lost_at_first(delivery: CallDelivery) -> None:
        acked.append(delivery.num_delivered)
        if len(acked) > 1:
            await ack(delivery)

    monkeypatch.setattr(CallDelivery, "ack", lost_at_first)
    call = request("once", {"note": str(note), "seconds": 0}, task_id="t")
    async with asyncio.timeout(30), agent.serve(server.url):
        assert (await transport.send(call)).result == "t"
        await eventually(lambda: len(acked) == 2, timeout=20)
    assert acked == [1, 2]
    assert note.read_text() == "ran t\n"


async def test_what_is_missing_for_good_is_an_error_and_not_a_cut(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    names = CallNames("default")
    async with asyncio.timeout(50), agent.serve(server.url):
        async for _ in transport.stream(request("count", {"n": 20}, task_id="t")):
            pass
        async with await Connection.open(ConnectionSettings(servers=(server.url,))) as connection:
            jetstream = JetStream(connection)
            await jetstream.purge_stream(names.replies_stream, subject=names.events("t", 1))
        with pytest.raises(ReplyGap):
            async for _ in transport.resume(agent_url=AGENT, task_id="t", timeout_s=30):
                pass


async def test_a_caller_that_died_leaves_its_task_no_longer_than_its_time_to_live(
    server: EmbeddedServer, transport: NatsTransport, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    async with asyncio.timeout(30), agent.serve(server.url) as replica:
        async with NatsTransport(server.url, time_to_live=0.5) as dying:
            stream = dying.stream(request("wait", {"note": str(note)}, task_id="t"))
            while (await anext(stream)).text != "began":
                pass
            await stream.aclose()
        await eventually(note.exists, timeout=20)
        await eventually(lambda: replica.in_work == 0, timeout=20)
        task = await transport.get_task(agent_url=AGENT, task_id="t")
    assert task.status.state == "failed"


async def test_payloads_are_not_logged(
    server: EmbeddedServer, transport: NatsTransport, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "s3cr3t-payload"

    async def leak(message: Any, ctx: Any) -> Any:
        yield message.payload
        raise ValueError(message.payload)

    caplog.set_level(logging.DEBUG)
    async with asyncio.timeout(30), serve(leak, server.url, agent="leaky"):
        call = request("leak", secret)
        call.agent_url = "nats://leaky"
        with pytest.raises(RemoteTaskFailed):
            async for _ in transport.stream(call):
                pass
        call = request("nothing", secret)
        call.agent_url = "nats://leaky"
        with pytest.raises(RemoteTaskFailed):
            await transport.send(call)
    assert secret not in caplog.text


async def test_a_node_is_served_as_it_is(server: EmbeddedServer, transport: NatsTransport) -> None:
    async def double(message: Any, ctx: Any) -> Any:
        await ctx.emit_chunk(parent=message, text="doubling")
        return message.payload * 2

    async with asyncio.timeout(30), serve(Node(double), server.url, agent="tester"):
        events = [event async for event in transport.stream(request("double", 21))]
    assert numbers(events) == ["doubling"]
    assert events[-1].result == 42


@pytest.mark.parametrize(
    "calls", [1_000, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
async def test_a_flood_of_calls_to_one_slow_agent_is_worked_off(
    server: EmbeddedServer, transport: NatsTransport, calls: int
) -> None:
    """All of them are submitted at once; none is lost, none runs twice, none is refused."""
    ran: list[int] = []
    most = 0

    async def slow(message: Any, ctx: Any) -> int:
        nonlocal most
        ran.append(message.payload)
        most = max(most, replica.in_work)
        await asyncio.sleep(0.005)
        return message.payload

    async with (
        asyncio.timeout(50 + calls / 20),
        serve(slow, server.url, agent="tester", concurrency=16) as replica,
    ):
        answers = await asyncio.gather(
            *(transport.send(request("slow", number)) for number in range(calls))
        )
    assert [answer.result for answer in answers] == list(range(calls))
    assert sorted(ran) == list(range(calls))
    assert most <= 16
