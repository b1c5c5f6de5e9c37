"""Flows that ask, and nodes that are asked: a pause is neither a failure nor an attempt."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow import Node, NodePolicy, create
from penguiflow.remote import (
    RemoteNode,
    RemoteTaskAuthRequired,
    RemoteTaskFailed,
    RemoteTaskInputRequired,
)
from penguiflow.serving.handling import AuthRequired, InputRequired
from penguiflow_nats import runtime
from penguiflow_nats.agent import Skill, serve
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport
from tests.integration.remote.calls import message, request

RETRIES = NodePolicy(validate="none", max_retries=3, backoff_base=0.01)


class Shop:
    """A flow of two nodes of which the second one asks."""

    def __init__(self) -> None:
        self.runs: list[Any] = []
        take = Node(self.take, name="take", policy=RETRIES)
        decide = Node(self.decide, name="decide", policy=RETRIES)
        self.flow = create(take.to(decide), decide.to())

    async def take(self, message, ctx):
        return message

    async def decide(self, message, ctx):
        self.runs.append(message.payload)
        resumed = message.meta.get("resumed")
        if resumed is None:
            raise InputRequired("which colour?")
        if not resumed["answers"]:
            return InputRequired(f"how many {message.payload} ones?")
        return {"first": resumed["first"], "told": [*resumed["answers"], message.payload]}


async def test_a_served_flow_asks_its_caller(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    shop = Shop()
    async with (
        serve(server=server.url, agent="tester", skills=[Skill("buy", shop.flow)]),
        asyncio.timeout(30),
    ):
        for payload, question in (("tiles", "which colour?"), ("red", "how many red ones?")):
            with pytest.raises(RemoteTaskInputRequired) as asked:
                await transport.send(request("buy", payload, task_id="t"))
            assert asked.value.snapshot.status.message == question
        answer = await transport.send(request("buy", "3", task_id="t"))
    assert answer.result == {"first": "tiles", "told": ["red", "3"]}
    assert shop.runs == ["tiles", "red", "3"]


async def test_a_served_flow_asks_the_same_again_when_its_replica_was_drained(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async with asyncio.timeout(30):
        skills = [Skill("buy", Shop().flow)]
        async with serve(server=server.url, agent="tester", skills=skills, drain=0.1):
            for payload in ("tiles", "red"):
                with pytest.raises(RemoteTaskInputRequired):
                    await transport.send(request("buy", payload, task_id="t"))
        shop = Shop()
        async with serve(server=server.url, agent="tester", skills=[Skill("buy", shop.flow)]):
            answer = await transport.send(request("buy", "3", task_id="t"))
    assert answer.result == {"first": "tiles", "told": ["red", "3"]}
    assert shop.runs == ["tiles", "red", "3"]


async def test_a_served_flow_is_given_credentials(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async def locked(message, ctx):
        if "credentials" not in message.meta:
            raise AuthRequired("a token")
        return message.meta["credentials"]

    flow = create(Node(locked, name="locked", policy=RETRIES).to())
    async with (
        serve(server=server.url, agent="tester", skills=[Skill("open", flow)]),
        asyncio.timeout(30),
    ):
        with pytest.raises(RemoteTaskAuthRequired):
            await transport.send(request("open", "x", task_id="t"))
        answer = await transport.send(request("open", "token", task_id="t"))
    assert answer.result == ["token"]


async def test_a_plain_call_of_a_flow_that_asks_is_rejected(server: EmbeddedServer) -> None:
    async with (
        serve(server=server.url, agent="tester", skills=[Skill("buy", Shop().flow)]),
        NatsTransport(server.url, durable=False) as plain,
    ):
        with pytest.raises(RemoteTaskFailed) as failed:
            await plain.send(request("buy", "tiles"))
    assert failed.value.code == "NOT_DURABLE"


async def test_a_remote_node_that_is_asked_is_not_tried_again(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    """In a durable flow, whose retries would each find the task paused."""
    runs = 0

    async def confirm(message, ctx):
        nonlocal runs
        runs += 1
        return await ctx.ask("sure?")

    node = RemoteNode(
        transport=transport, skill="confirm", agent_url="nats://tester", name="n", policy=RETRIES
    )
    calls: list[str] = []
    send = transport.send

    async def counted(call):
        calls.append(call.task_id)
        return await send(call)

    transport.send = counted  # type: ignore[method-assign]
    flow = create(node.to(), name="asked")
    async with (
        asyncio.timeout(30),
        serve(confirm, server.url, agent="tester"),
        runtime.worker(flow, server.url),
        runtime.client(flow, server.url) as client,
    ):
        with pytest.raises(Exception, match="requires input"):
            await client.round_trip(message("x"), timeout=20)
    assert len(calls) == 1
    assert runs == 1
