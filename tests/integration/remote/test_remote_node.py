"""A remote node in a local and in a durable flow, its agent in another process."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from penguiflow import FlowError, NodePolicy, StreamChunk, create
from penguiflow.errors import TraceCancelled
from penguiflow.node import Node
from penguiflow.remote import RemoteNode
from penguiflow.state.models import RemoteBinding, StoredEvent
from penguiflow.state.protocols import SupportsConversationBindings
from penguiflow.types import Message
from penguiflow_nats import runtime
from penguiflow_nats.agent import serve
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport
from tests.integration.remote.agent_app import agent
from tests.integration.remote.calls import AGENT, eventually, message
from tests.integration.remote.conftest import StartProcess, StartReplica, ready
from tests.integration.remote.worker_app import flow_of

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


async def test_a_redelivered_node_joins_its_task(
    server: EmbeddedServer, transport: NatsTransport, start: StartProcess
) -> None:
    """The worker is killed in the middle; the agent works on, and runs once."""
    flow = flow_of(transport)
    async with agent.serve(server.url), runtime.client(flow, server.url) as client:
        worker = await start("worker_app")
        await ready(worker)
        stream = client.stream(message({"n": 60, "pause": 0.02}), timeout=9)
        async with asyncio.timeout(9):
            pieces = [await anext(stream) for _ in range(10)]
            worker.kill()
            async with runtime.worker(flow, server.url, lease=1.0):
                pieces.extend([piece async for piece in stream])
    assert pieces[-1] == {"n": 60, "worker": os.getpid(), "epoch": 1}
    assert [chunk.text for chunk in pieces[-61:-1]] == [str(n) for n in range(60)]


async def test_a_cancelled_trace_cancels_the_task(
    server: EmbeddedServer, transport: NatsTransport, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    flow = flow_of(transport, "wait")
    async with (
        agent.serve(server.url),
        runtime.worker(flow, server.url),
        runtime.client(flow, server.url) as client,
    ):
        stream = client.stream(message({"note": str(note)}, trace_id="0" * 32), timeout=9)
        assert (await anext(stream)).text == "began"
        assert await client.cancel("0" * 32)
        await eventually(note.exists)
        with pytest.raises(TraceCancelled):
            await anext(stream)


async def test_a_timeout_cancels_the_task_and_the_retry_has_a_new_one(
    server: EmbeddedServer, transport: NatsTransport, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    flow = flow_of(
        transport, "once", streaming=False, timeout_s=0.4, max_retries=1, backoff_base=0.01
    )
    async with (
        agent.serve(server.url) as replica,
        runtime.worker(flow, server.url),
        runtime.client(flow, server.url) as client,
    ):
        with pytest.raises(FlowError, match="timed out"):
            await client.round_trip(message({"note": str(note), "seconds": 60}), timeout=9)
        await eventually(lambda: not replica.in_work)
    ran = note.read_text().splitlines()
    assert len(ran) == len(set(ran)) == 2


async def test_a_failed_task_is_tried_again(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    tries = []

    async def unsteady(message, ctx):
        tries.append(ctx.task_id)
        if len(tries) < 3:
            raise ValueError
        return len(tries)

    flow = flow_of(transport, "unsteady", streaming=False, max_retries=5, backoff_base=0.01)
    async with (
        serve(unsteady, server.url, agent="tester"),
        runtime.worker(flow, server.url),
        runtime.client(flow, server.url) as client,
    ):
        assert await client.round_trip(message({}), timeout=9) == 3
    assert len(set(tries)) == 3


class Bindings(SupportsConversationBindings):
    """A state store that keeps the bindings in order."""

    def __init__(self) -> None:
        self.saved: list[RemoteBinding] = []

    async def save_event(self, event: StoredEvent) -> None: ...

    async def load_history(self, trace_id: str) -> list[StoredEvent]:
        return []

    async def save_remote_binding(self, binding: RemoteBinding) -> None:
        self.saved.append(binding)


async def test_the_binding_is_stored_before_the_work_and_closed_after_it(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    store = Bindings()
    seen: list[RemoteBinding] = []

    async def look(message, ctx):
        seen.extend(store.saved)
        return ctx.task_id

    node = RemoteNode(
        transport=transport,
        skill="look",
        agent_url=AGENT,
        name="remote",
        policy=NodePolicy(validate="none"),
    )
    flow = create(node.to(), state_store=store)
    flow.run()
    async with serve(look, server.url, agent="tester"):
        await flow.emit(message({}))
        task_id = await flow.fetch()
        await flow.stop()
    assert [(binding.task_id, binding.is_terminal) for binding in seen] == [(task_id, False)]
    assert [binding.is_terminal for binding in store.saved] == [False, True]
