"""The promises of every remote transport, kept by ours over A2A: all bindings, both boards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from a2a.types import a2a_pb2 as pb

from penguiflow import Message
from penguiflow.testing.transport_contract import RemoteTransportContract
from penguiflow_a2a import A2AService
from penguiflow_a2a.client.requests import SKILL
from penguiflow_a2a.orders import IDEMPOTENCY
from penguiflow_nats.board import NatsTaskBoard
from penguiflow_nats.server import EmbeddedServer
from tests.integration.a2a.conftest import card, served
from tests.integration.a2a.test_calling import transport_for


async def skilled(message: Message, ctx: Any) -> Any:
    match message.meta["a2a"]["metadata"][SKILL]:
        case "echo":
            return message.payload
        case "count":
            for number in range(message.payload):
                await ctx.emit(str(number))
            return message.payload
        case "wait":
            await ctx.emit("started")
            await asyncio.sleep(3600)
    msg = "it fails"
    raise ValueError(msg)


class OverA2A(RemoteTransportContract):
    binding: ClassVar[str] = "JSONRPC"
    streaming: ClassVar[bool] = True

    @asynccontextmanager
    async def open_store(self) -> AsyncIterator[Any]:
        about = card(streaming=self.streaming)
        about.capabilities.extensions.append(pb.AgentExtension(uri=IDEMPOTENCY))
        async with EmbeddedServer() as server:
            store = NatsTaskBoard(server.url, agent="skilled")
            service = A2AService(skilled, agent_card=about, store=store)
            async with served(service) as found, transport_for(self.binding) as transport:
                self.agent_url = found.url
                transport.tenant = self.tenant  # whose tasks are looked at
                yield transport


class TestJsonRpc(OverA2A):
    pass


class TestRest(OverA2A):
    binding = "HTTP+JSON"


class TestGrpc(OverA2A):
    binding = "GRPC"


class TestWithoutStreams(OverA2A):
    streaming = False

    async def test_texts_come_in_order_and_the_result_after_them(self) -> None:
        """Where they were cut, an agent that does not stream cannot tell."""
        async with self.open_store() as transport:
            events = [each async for each in transport.stream(self.request("count", 3))]
            assert "".join(each.text or "" for each in events) == "012"
            assert events[-1].result == 3
