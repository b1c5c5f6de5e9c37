"""The app user of a tenant does all that an app does, with the permissions that are generated."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from penguiflow import Headers, Message, Node, NodePolicy, create
from penguiflow.remote import RemoteCallRequest
from penguiflow_nats import runtime
from penguiflow_nats.agent import Skill, serve
from penguiflow_nats.call_streams import CallStorage
from penguiflow_nats.streams import Storage
from penguiflow_nats.transport import NatsTransport
from tests.integration.tenants.site import Site, site

MB = 1_000_000
SMALL = Storage(log_bytes=20 * MB, dlq_bytes=5 * MB, chunk_bytes=5 * MB, object_bytes=20 * MB)
FEW = CallStorage(calls_bytes=5 * MB, replies_bytes=5 * MB)
LARGE = "0123456789" * (MB // 5)


@pytest.fixture
async def accounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    async with site(monkeypatch, str(tmp_path)) as opened:
        yield opened


async def same(value: Any, ctx: Any) -> Any:
    return value


def flow() -> Any:
    return create(Node(same, name="same", policy=NodePolicy(validate="none")).to(), name="app")


async def test_values_that_no_message_carries_and_messages_for_later(accounts: Site) -> None:
    async with (
        await accounts.open("acme") as worker,
        await accounts.open("acme", "app") as app,
        runtime.worker(flow(), worker, tenant="acme", storage=SMALL),
        runtime.client(flow(), app, tenant="acme", storage=SMALL) as client,
    ):
        large = await client.emit(LARGE)
        assert await client.fetch(trace_id=large, timeout=30) == LARGE
        later = await client.emit("later", delay_s=0.2)
        assert await client.fetch(trace_id=later, timeout=30) == "later"


async def length(message: Message, ctx: Any) -> int:
    return len(message.payload)


async def count(message: Message, ctx: Any) -> Any:
    for number in range(message.payload):
        yield str(number)


class Slow:
    """A skill that is cancelled."""

    def __init__(self) -> None:
        self.started, self.cancelled = asyncio.Event(), asyncio.Event()

    async def __call__(self, message: Message, ctx: Any) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def request(skill: str, payload: Any, **fields: Any) -> RemoteCallRequest:
    message = Message(payload=payload, headers=Headers(tenant="acme"))
    return RemoteCallRequest(message=message, skill=skill, agent_url="nats://own", **fields)


async def test_durable_calls_of_the_tenants_own_agents(accounts: Site) -> None:
    slow = Slow()
    skills = [Skill("length", length), Skill("count", count), Skill("slow", slow)]
    async with (
        await accounts.open("acme") as worker,
        await accounts.open("acme", "app") as app,
        serve(None, worker, agent="own", skills=skills, tenant="acme", storage=FEW),
        NatsTransport(app, tenant="acme", storage=FEW) as transport,
    ):
        assert (await transport.send(request("length", "four"))).result == 4
        assert (await transport.send(request("length", LARGE))).result == len(LARGE)
        texts = [event.text async for event in transport.stream(request("count", 3)) if event.text]
        assert texts == ["0", "1", "2"]
        task = await transport.send_task(request("slow", 0))
        async with asyncio.timeout(30):
            await slow.started.wait()
            await transport.cancel(agent_url="nats://own", task_id=task.task_id)
            await slow.cancelled.wait()
        page = await transport.list_tasks(agent_url="nats://own")
        assert page.tasks
        assert app.statistics.denied == 0
