"""A cluster on the loopback: leaders are found, and their loss is survived."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ApiError, NoResponders, OutcomeUnknown
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.server_cluster import ServerCluster
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.stream_types import ConsumerConfig, StreamConfig
from tests.support.eventually import eventually


@pytest.fixture
async def cluster() -> AsyncIterator[ServerCluster]:
    async with ServerCluster() as cluster:
        yield cluster


async def append(jetstream: JetStream, data: bytes) -> None:
    """Append until it is known to be stored; the message id makes the repetition harmless."""
    while True:
        try:
            await jetstream.connection.writable()
            await jetstream.append("s.a", data, {"Nats-Msg-Id": data.decode()}, timeout=1.0)
        except (NoResponders, OutcomeUnknown, ApiError):
            await asyncio.sleep(0.05)
        else:
            return


async def test_writes_go_on_when_the_leader_is_killed(cluster: ServerCluster) -> None:
    # Only one address: the others are learned from the cluster.
    settings = ConnectionSettings(servers=cluster.urls[:1])
    async with await Connection.open(settings) as connection:
        jetstream = JetStream(connection)
        await jetstream.create_stream(StreamConfig(name="S", subjects=["s.>"], num_replicas=3))
        await jetstream.create_consumer("S", ConsumerConfig(durable_name="c"))
        leader = await cluster.stream_leader("S")
        assert leader is not None
        assert await cluster.consumer_leader("S", "c") in range(3)
        assert await cluster.meta_leader() in range(3)
        assert await cluster.stream_leader("nothing") is None

        for n in range(20):
            await append(jetstream, b"before-%d" % n)
        await cluster.kill(leader)
        async with asyncio.timeout(20):
            for n in range(20):
                await append(jetstream, b"after-%d" % n)
        assert await cluster.stream_leader("S") not in (None, leader)
        assert (await jetstream.stream_info("S")).state.messages == 40
        await cluster.start(leader)
        await cluster.ready()


async def test_a_server_that_is_about_to_leave_is_left_early(cluster: ServerCluster) -> None:
    settings = ConnectionSettings(servers=cluster.urls[:1])
    async with await Connection.open(settings) as connection:
        first = connection.client
        assert first is not None
        connection.subscribe("ask", lambda m: connection.publish(m.reply, m.data))
        index = cluster.urls.index(f"nats://{first.connected_url.netloc}")  # type: ignore[union-attr]
        cluster.nodes[index].lame_duck()
        await eventually(lambda: connection.statistics.reconnects == 1)
        assert cluster.nodes[index].is_running
        assert connection.client is not first
        assert (await connection.request("ask", b"x")).data == b"x"
