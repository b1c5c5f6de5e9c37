"""What is for later is kept by the server: it survives the server's death and that of workers."""

from __future__ import annotations

import time

import pytest

from penguiflow import Context, FlowError, Headers, Message, Node, NodePolicy, create
from penguiflow.patterns import join_k
from penguiflow_nats import Storage, client, worker
from penguiflow_nats.server import EmbeddedServer

PLAIN = NodePolicy(validate="none")


def message(payload: object) -> Message:
    return Message(payload=payload, headers=Headers(tenant="default"))


async def stamp(msg: Message, ctx: Context) -> Message:
    return msg.model_copy(update={"payload": time.time()})


@pytest.mark.slow
async def test_delays_and_timeouts_survive_a_killed_server_and_a_restarted_worker() -> None:
    node, join = Node(stamp, policy=PLAIN), join_k("join", 2, timeout_s=3.0)
    flow = create(node.to(), join.to(), name="later")
    async with EmbeddedServer() as server:
        began = time.time()
        later, joined = message(0), message(1)
        async with client(flow, server.url) as submitting:
            async with worker(flow, server.url):
                await submitting.emit(later, to="stamp", delay_s=3.0)
                await submitting.emit(joined, to="join")
                await submitting.round_trip(message(2), timeout=30)
            await server.kill()
            await server.start()
        async with worker(flow, server.url), client(flow, server.url) as fetching:
            result = await fetching.fetch(trace_id=later.trace_id, timeout=30)
            assert result.payload - began >= 2.9
            with pytest.raises(FlowError, match="1 of 2"):
                await fetching.fetch(trace_id=joined.trace_id, timeout=30)


async def test_a_delay_longer_than_the_log_keeps_anything_is_refused() -> None:
    flow = create(Node(stamp, policy=PLAIN).to(), name="later")
    async with (
        EmbeddedServer() as server,
        client(flow, server.url, storage=Storage(log_age=600)) as opened,
    ):
        with pytest.raises(ValueError, match="the log keeps entries for 600 s"):
            await opened.emit(message(0), delay_s=601)
