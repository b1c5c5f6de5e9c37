"""A service in this process, served by HTTP and gRPC on free ports."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import httpx
import pytest
import uvicorn
from a2a.types import a2a_pb2 as pb

from penguiflow_a2a import A2AService, add_a2a_grpc_service, create_a2a_http_app
from penguiflow_nats.board import NatsTaskBoard
from penguiflow_nats.server import EmbeddedServer
from tests.integration.a2a.agents import flow
from tests.integration.a2a.wire import Grpc, JsonRpc, Rest, Wire

_numbers = itertools.count()
BINDINGS = ("JSONRPC", "HTTP+JSON", "GRPC")


def card(**capabilities: Any) -> pb.AgentCard:
    return pb.AgentCard(
        name="tester",
        description="Does what it is told.",
        version="1.0.0",
        supported_interfaces=[
            pb.AgentInterface(url="http://test", protocol_binding=each, protocol_version="1.0")
            for each in BINDINGS
        ],
        capabilities=pb.AgentCapabilities(**capabilities),
        default_input_modes=["text/plain", "application/json"],
        default_output_modes=["text/plain", "application/json"],
        skills=[pb.AgentSkill(id="act", name="act", description="Acts.", tags=["test"])],
    )


class Outbox:
    """A push outbox that delivers nothing, and remembers."""

    def __init__(self) -> None:
        self.watched: list[pb.TaskPushNotificationConfig] = []

    async def start(self, board: Any) -> None: ...

    async def stop(self) -> None: ...

    async def check(self, config: pb.TaskPushNotificationConfig) -> None:
        if not config.url.startswith("https://"):
            msg = "the webhook is not https"
            raise ValueError(msg)

    async def watch(self, config: pb.TaskPushNotificationConfig, *, owner: str) -> None:
        self.watched.append(config)

    async def unwatch(self, task_id: str, config_id: str, *, owner: str) -> None:
        self.watched = [each for each in self.watched if each.id != config_id]


class Served:
    """A service that is served."""

    def __init__(self, service: A2AService, url: str, target: str) -> None:
        self.service = service
        self.url = url
        self.target = target
        self.client = httpx.AsyncClient(timeout=30.0)
        self.channel = grpc.aio.insecure_channel(target)

    def wire(self, binding: str, tenant: str = "") -> Wire:
        if binding == "JSONRPC":
            return JsonRpc(self.url, self.client, tenant)
        if binding == "HTTP+JSON":
            return Rest(self.url, self.client, tenant)
        return Grpc(self.channel)


@asynccontextmanager
async def served(service: A2AService) -> AsyncIterator[Served]:
    """Serve a service by all bindings until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    rpc = grpc.aio.server()
    add_a2a_grpc_service(rpc, service)
    port = rpc.add_insecure_port("127.0.0.1:0")
    for each in service.agent_card.supported_interfaces:
        each.url = f"127.0.0.1:{port}" if each.protocol_binding == "GRPC" else url
    app = create_a2a_http_app(service)
    config = uvicorn.Config(
        app, log_level="warning", lifespan="on", ws="none", timeout_graceful_shutdown=1
    )
    http = uvicorn.Server(config)
    await rpc.start()
    serving = asyncio.create_task(http.serve(sockets=[listener]))
    while not http.started:
        await asyncio.sleep(0.005)
    found = Served(service, url, f"127.0.0.1:{port}")
    try:
        yield found
    finally:
        await found.client.aclose()
        await found.channel.close()
        await rpc.stop(0)
        http.should_exit = True
        await serving
        listener.close()


Serve = Callable[..., Any]


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as server:
        yield server


@pytest.fixture(params=["memory", "nats"])
async def serve(request: pytest.FixtureRequest) -> AsyncIterator[Serve]:
    """Serves as many services as a test wants, each as its keywords say, on either board."""
    async with AsyncExitStack() as stack:
        url = ""
        if request.param == "nats":
            url = (await stack.enter_async_context(EmbeddedServer())).url

        async def serve(**options: Any) -> Served:
            if url:
                name = options.pop("name", f"agent{next(_numbers)}")
                options.setdefault("store", NatsTaskBoard(url, agent=name))
            capabilities = options.pop("capabilities", {"streaming": True})
            if capabilities.get("push_notifications"):
                options.setdefault("push_sender", Outbox())
            agent = options.pop("agent", None) or flow()
            options.setdefault("agent_card", card(**capabilities))
            return await stack.enter_async_context(served(A2AService(agent, **options)))

        yield serve


@pytest.fixture(params=BINDINGS)
def binding(request: pytest.FixtureRequest) -> str:
    return str(request.param)
