"""Where a remote node's chunks go, and who closes the connection that it opened."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow import Node, NodePolicy, StreamChunk, create
from penguiflow.endpoints import ROOKERY
from penguiflow.remote import RemoteNode
from penguiflow.types import Message
from penguiflow_nats import runtime
from penguiflow_nats.agent import serve
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport
from tests.integration.remote.agent_app import agent
from tests.integration.remote.calls import AGENT, eventually, message

PLAIN = NodePolicy(validate="none")
NUMBERS = [str(n) for n in range(20)]


class Middle:
    """A flow whose first node is a remote one, and what the second one was given."""

    def __init__(self, transport: NatsTransport, chunks_to: Any = ROOKERY) -> None:
        self.given: list[Any] = []
        remote = RemoteNode(
            transport=transport,
            skill="count",
            agent_url=AGENT,
            name="counted",
            policy=PLAIN,
            streaming=True,
            chunks_to=chunks_to,
        )
        last = Node(self.last, name="last", policy=PLAIN)
        self.flow = create(remote.to(last), last.to(), name="middle")

    async def last(self, value: Any, ctx: Any) -> Any:
        self.given.append(value)
        if isinstance(value, Message):  # a chunk
            return None
        return value["n"]


async def test_chunks_of_a_node_in_the_middle_of_a_durable_flow_go_to_whoever_follows(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    middle = Middle(transport)
    async with (
        asyncio.timeout(30),
        agent.serve(server.url),
        runtime.worker(middle.flow, server.url),
        runtime.client(middle.flow, server.url) as client,
    ):
        *chunks, result = [each async for each in client.stream(message({"n": 20}), timeout=20)]
    assert [chunk.text for chunk in chunks] == NUMBERS
    assert result == 20
    assert [value["n"] for value in middle.given] == [20]


async def test_chunks_of_a_node_in_the_middle_of_a_local_flow_go_to_the_rookery(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    middle = Middle(transport)
    texts: list[str] = []
    async with asyncio.timeout(30), agent.serve(server.url):
        middle.flow.run()
        await middle.flow.emit(message({"n": 20}))
        while isinstance(value := await middle.flow.fetch(), Message):
            texts.append(value.payload.text)
        await middle.flow.stop()
    assert texts == NUMBERS
    assert value == 20
    assert len(middle.given) == 1


async def test_by_default_chunks_go_where_the_result_goes(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    middle = Middle(transport, chunks_to=None)
    async with asyncio.timeout(30), agent.serve(server.url):
        middle.flow.run()
        await middle.flow.emit(message({"n": 20}))
        assert await middle.flow.fetch() == 20
        await middle.flow.stop()
    *chunks, result = middle.given
    assert all(isinstance(chunk.payload, StreamChunk) for chunk in chunks)
    assert (len(chunks), result["n"]) == (20, 20)


# ---- the connection ------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["worker", "local flow"])
async def test_the_stop_of_a_flow_closes_what_its_remote_node_opened(
    server: EmbeddedServer, where: str
) -> None:
    transport = NatsTransport(server.url)
    middle = Middle(transport)
    async with asyncio.timeout(30), agent.serve(server.url):
        for _ in range(2):  # it may be used again
            if where == "worker":
                async with (
                    runtime.worker(middle.flow, server.url),
                    runtime.client(middle.flow, server.url) as client,
                ):
                    await client.round_trip(message({"n": 2}), timeout=20)
                    assert transport._opened is not None
            else:
                middle.flow.run()
                await middle.flow.emit(message({"n": 2}))
                while isinstance(await middle.flow.fetch(), Message):
                    pass
                assert transport._opened is not None
                await middle.flow.stop()
            assert transport._opened is None


async def test_a_transport_that_was_entered_stays_open(server: EmbeddedServer) -> None:
    async with (
        asyncio.timeout(30),
        agent.serve(server.url),
        NatsTransport(server.url) as transport,
    ):
        middle = Middle(transport)
        middle.flow.run()
        await middle.flow.emit(message({"n": 2}))
        while isinstance(await middle.flow.fetch(), Message):
            pass
        await middle.flow.stop()
        assert transport._opened is not None


async def test_a_transport_with_a_call_in_work_stays_open(server: EmbeddedServer) -> None:
    release = asyncio.Event()

    async def patient(message: Any, ctx: Any) -> str:
        await release.wait()
        return "done"

    transport = NatsTransport(server.url)
    async with asyncio.timeout(30), serve(patient, server.url, agent="patient") as replica:
        node = RemoteNode(
            transport=transport, skill="patient", agent_url="nats://patient", name="n", policy=PLAIN
        )
        flow = create(node.to())
        flow.run()
        await flow.emit(message("x"))
        await eventually(lambda: replica.in_work)
        await transport.release()
        release.set()
        assert await flow.fetch() == "done"
        await flow.stop()
    assert transport._opened is None
