"""Plain calls: request and reply, nothing stored."""

from __future__ import annotations

import asyncio
import time

import pytest

from penguiflow.remote import RemoteTaskFailed
from penguiflow_nats.agent import AgentOptions, serve
from penguiflow_nats.call_errors import AgentNotFound
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport
from tests.integration.remote.agent_app import agent
from tests.integration.remote.calls import messages, request


@pytest.fixture
async def plain(server: EmbeddedServer):
    async with NatsTransport(server.url, durable=False) as plain:
        yield plain


async def test_a_plain_call_stores_nothing(server: EmbeddedServer, plain: NatsTransport) -> None:
    async with agent.serve(server.url):
        answers = [plain.send(request("ask", {"text": "x", "times": n})) for n in range(100)]
        texts = [answer.result.text for answer in await asyncio.gather(*answers)]
        assert texts == ["x" * n for n in range(100)]
        assert await messages(server) == 0
        with pytest.raises(RemoteTaskFailed, match="no summary"):
            await plain.send(request("fail", {}))


async def test_nobody_there_is_said_at_once(plain: NatsTransport) -> None:
    began = time.monotonic()
    with pytest.raises(AgentNotFound):
        await plain.send(request("ask", {}))
    assert time.monotonic() - began < 2


async def test_a_timeout_bounds_both_sides(server: EmbeddedServer, plain: NatsTransport) -> None:
    ended = asyncio.Event()

    async def long(message, ctx):
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with serve(long, server.url, agent="tester"):
        with pytest.raises((TimeoutError, RemoteTaskFailed)):
            await plain.send(request("long", {}, timeout_s=0.2))
        async with asyncio.timeout(2):
            await ended.wait()


async def test_too_many_are_refused(server: EmbeddedServer, plain: NatsTransport) -> None:
    options = AgentOptions(plain_concurrency=2)
    async with agent.serve(server.url, options=options):
        calls = [plain.send(request("once", {"seconds": 0.3})) for _ in range(5)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, RemoteTaskFailed)]
    assert [answer.code for answer in refused] == ["BUSY"] * 3
