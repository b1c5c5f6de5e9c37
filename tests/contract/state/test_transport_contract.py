"""The contract of remote transports: ours keep it, and careless ones break each promise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from penguiflow.remote import RemoteCallRequest, RemoteCallResult, RemoteStreamEvent
from penguiflow.testing import transport_contract
from penguiflow.testing.transport_contract import RemoteTransportContract
from penguiflow_nats.agent import Result, Skill, serve
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport


async def echo(message: Any, ctx: Any) -> Any:
    return message.payload


async def count(message: Any, ctx: Any) -> AsyncIterator[Any]:
    for number in range(message.payload):
        yield str(number)
    yield Result(message.payload)


async def fail(message: Any, ctx: Any) -> None:
    raise ValueError("as asked")


async def wait(message: Any, ctx: Any) -> AsyncIterator[Any]:
    yield "started"
    await asyncio.Event().wait()


SKILLS = [Skill(each.__name__, each) for each in (echo, count, fail, wait)]


class _OnNats(RemoteTransportContract):
    agent_url = "nats://contract"

    async def make_store(self) -> Any:
        stack = AsyncExitStack()
        server = await stack.enter_async_context(EmbeddedServer())
        await stack.enter_async_context(
            serve(None, server.url, agent="contract", skills=SKILLS, tenant=self.tenant, drain=1.0)
        )
        transport = NatsTransport(server.url, tenant=self.tenant)
        self.stack = stack
        return await stack.enter_async_context(transport)

    async def close_store(self, store: Any) -> None:
        await self.stack.aclose()


class TestNatsTransport(_OnNats):
    """Calls that are stored."""


class Careless:
    """Answers anything with something else, cancels nothing, and takes its time."""

    async def send(self, request: RemoteCallRequest) -> RemoteCallResult:
        return RemoteCallResult("something else")

    async def stream(self, request: RemoteCallRequest) -> AsyncIterator[RemoteStreamEvent]:
        yield RemoteStreamEvent(text="started", task_id="t")
        if request.skill == "wait":
            await asyncio.Event().wait()

    async def cancel(self, *, agent_url: str, task_id: str) -> None: ...


class CarelessTasks(Careless):
    """Knows every task."""

    async def send_task(self, request: Any, *, blocking: bool = False) -> Any:
        return type("Task", (), {"is_terminal": False, "task_id": "t"})()

    async def get_task(self, **asked: Any) -> Any: ...
    async def list_tasks(self, **asked: Any) -> Any: ...
    async def subscribe_task(self, **asked: Any) -> Any: ...
    async def set_task_push_notification_config(self, **asked: Any) -> Any: ...
    async def get_task_push_notification_config(self, **asked: Any) -> Any: ...
    async def delete_task_push_notification_config(self, **asked: Any) -> Any: ...
    async def list_task_push_notification_configs(self, **asked: Any) -> Any: ...


@pytest.mark.parametrize(
    "promise", [name for name in dir(RemoteTransportContract) if name.startswith("test_")]
)
async def test_each_promise_is_broken_by_a_careless_transport(
    promise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Applied(RemoteTransportContract):
        async def make_store(self) -> Any:
            return CarelessTasks()

    monkeypatch.setattr(transport_contract, "_LIMIT", 0.3)
    with pytest.raises(AssertionError):
        await getattr(Applied(), promise)()
