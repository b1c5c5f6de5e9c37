"""A real server, an agent with several manners, and a bare client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from penguiflow_nats.agent import AgentOptions, AuthRequired, Rejected, Result, Skill, serve
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.synadia import FrontOptions, SynadiaFront, answering

Front = Callable[..., AbstractAsyncContextManager[SynadiaFront]]


class Agent:
    """What the handlers below were told, for the tests to look at."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.cancelled = asyncio.Event()

    async def stream(self, message, ctx):
        self.heard.append((message.payload, ctx.context_id, dict(ctx.metadata)))
        for word in message.payload.split():
            yield word
        yield Result({"words": len(message.payload.split())})

    async def result(self, message, ctx):
        return {"asked": message.payload}

    async def fail(self, message, ctx):
        yield "before"
        raise ValueError("a secret")

    async def reject(self, message, ctx):
        raise Rejected("not on Sundays\r\nX: y é ünd", code="CLOSED")

    async def large(self, message, ctx):
        yield "\x00" * 500_000

    async def confirm(self, message, ctx):
        yield f"about {message.payload}"
        colour = await ctx.ask("which colour?")
        yield f"in {colour}"
        size = await ctx.ask({"sizes": [1, 2]})
        yield Result([colour, size])

    async def locked(self, message, ctx):
        raise AuthRequired("a token")

    async def wait(self, message, ctx):
        yield "began"
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def skills(self) -> list[Skill]:
        names = ("stream", "result", "fail", "reject", "large", "wait", "confirm", "locked")
        return [Skill(name, getattr(self, name)) for name in names]


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as server:
        yield server


@pytest.fixture
async def agent(server: EmbeddedServer) -> AsyncIterator[Agent]:
    told = Agent()
    async with serve(
        server=server.url, agent="penguin", skills=told.skills(), options=AgentOptions(lease=1.0)
    ):
        yield told


@pytest.fixture
async def nc(server: EmbeddedServer) -> AsyncIterator[Client]:
    client = await nats.connect(server.url)
    yield client
    await client.close()


@pytest.fixture
def front(server: EmbeddedServer) -> Front:
    """Puts a skill of the agent behind the protocol."""

    def front(skill: str, **options: Any) -> AbstractAsyncContextManager[SynadiaFront]:
        session = options.pop("session", "default")
        return answering(
            server.url,
            agent="penguin",
            skill=skill,
            owner="zoo",
            session=session,
            drain=options.pop("drain", 5.0),
            options=FrontOptions(**options),
        )

    return front
