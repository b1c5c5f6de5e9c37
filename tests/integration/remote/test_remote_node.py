"""A remote node in a local and in a durable flow, its agent in another process."""

from __future__ import annotations

from penguiflow import NodePolicy, StreamChunk, create
from penguiflow.node import Node
from penguiflow.remote import RemoteNode
from penguiflow.types import Message
from penguiflow_nats import runtime
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport
from tests.integration.remote.calls import AGENT, message
from tests.integration.remote.conftest import StartReplica

NUMBERS = [str(n) for n in range(100)]


def counting(transport: NatsTransport) -> Node:
    return RemoteNode(
        transport=transport,
        skill="count",
        agent_url=AGENT,
        name="counted",
        streaming=True,
        policy=NodePolicy(validate="none"),
    )


async def test_streams_into_a_local_flow(
    transport: NatsTransport, start_replica: StartReplica
) -> None:
    await start_replica()
    flow = create(counting(transport).to())
    flow.run()
    await flow.emit(message({"n": 100}))
    texts = []
    while True:
        value = await flow.fetch()
        if not isinstance(value, Message):
            break
        chunk = value.payload
        assert isinstance(chunk, StreamChunk)
        texts.append(chunk.text)
    await flow.stop()
    assert texts == NUMBERS
    assert value["n"] == 100


async def test_streams_through_a_durable_flow(
    server: EmbeddedServer, transport: NatsTransport, start_replica: StartReplica
) -> None:
    replica = await start_replica()
    flow = create(counting(transport).to(), name="counting")
    async with runtime.worker(flow, server.url), runtime.client(flow, server.url) as client:
        pieces = [piece async for piece in client.stream(message({"n": 100}), timeout=8)]
    *chunks, result = pieces
    assert [chunk.text for chunk in chunks] == NUMBERS
    assert [chunk.seq for chunk in chunks] == list(range(100))
    assert chunks[-1].done
    assert result == {"n": 100, "worker": replica.pid, "epoch": 1}
