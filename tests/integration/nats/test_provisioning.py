"""Streams and consumers are made, checked or left alone, and nothing changes in silence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from penguiflow import PenguiFlow
from penguiflow_nats import runtime
from penguiflow_nats.connection import Connection
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.provisioning import TopologyDrift, TopologyMissing
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.stream_types import SECOND
from penguiflow_nats.streams import Storage
from tests.support.flows import chain, passing

LOG = "PF_default_0"


def flow() -> PenguiFlow:
    return chain(passing("first"), passing("second"), name="planned")


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as started:
        yield started


@pytest.fixture
async def jetstream(server: EmbeddedServer) -> AsyncIterator[JetStream]:
    async with runtime.connected(server.url) as connection:
        yield JetStream(connection)


async def edit_stream(jetstream: JetStream, **changes: Any) -> None:
    config = (await jetstream.stream_info(LOG)).config
    await jetstream.update_stream(msgspec.structs.replace(config, **changes))


async def edit_consumer(jetstream: JetStream, name: str, **changes: Any) -> None:
    config = (await jetstream.consumer_info(LOG, name)).config
    await jetstream.create_consumer(LOG, msgspec.structs.replace(config, **changes))


async def test_apply_creates_and_then_verify_and_off_agree(server: EmbeddedServer) -> None:
    async with runtime.worker(flow(), server.url):
        pass
    for how in ("verify", "off"):
        async with (
            runtime.worker(flow(), server.url, provision=how),  # type: ignore[arg-type]
            runtime.client(flow(), server.url, provision=how) as client,  # type: ignore[arg-type]
        ):
            trace_id = await client.emit("x")
            assert await client.fetch(trace_id=trace_id, timeout=30) == "x"


@pytest.mark.parametrize("how", ["verify", "off"])
async def test_without_apply_what_is_missing_is_named_and_nothing_created(
    server: EmbeddedServer, jetstream: JetStream, how: Any
) -> None:
    with pytest.raises(TopologyMissing, match="stream PF_default_0, stream PF_default_CHUNKS"):
        async with runtime.client(flow(), server.url, provision=how):
            pass
    assert await jetstream.stream_names() == []
    async with runtime.worker(flow(), server.url, nodes=["first"]):
        pass
    with pytest.raises(TopologyMissing, match="there is no consumer planned-1=second"):
        async with runtime.worker(flow(), server.url, provision=how):
            pass
    assert await jetstream.consumer_names(LOG) == ["planned-1=_timers", "planned-1=first"]


async def test_drift_is_changed_aloud_verified_loudly_and_left_alone(
    server: EmbeddedServer, jetstream: JetStream, caplog: pytest.LogCaptureFixture
) -> None:
    async with runtime.worker(flow(), server.url):
        pass
    await edit_consumer(jetstream, "planned-1=first", ack_wait=7 * SECOND, max_deliver=4)
    await edit_stream(jetstream, allow_direct=False)
    with pytest.raises(TopologyDrift) as drift:
        async with runtime.worker(flow(), server.url, provision="verify"):
            pass
    assert {c.field for c in drift.value.changes} == {"ack_wait", "max_deliver", "allow_direct"}
    assert "ack_wait is 7 s, needed is 15 s" in str(drift.value)
    await edit_stream(jetstream, allow_direct=True)
    async with runtime.worker(flow(), server.url, provision="off"):
        config = (await jetstream.consumer_info(LOG, "planned-1=first")).config
        assert (config.ack_wait, config.max_deliver) == (7 * SECOND, 4)
    with caplog.at_level(logging.WARNING):
        async with runtime.worker(flow(), server.url):
            config = (await jetstream.consumer_info(LOG, "planned-1=first")).config
    assert (config.ack_wait, config.max_deliver) == (15 * SECOND, -1)
    assert "changing consumer planned-1=first: ack_wait is 7 s, needed is 15 s" in caplog.text


async def test_a_dangerous_change_is_refused_and_nothing_else_is_changed(
    server: EmbeddedServer, jetstream: JetStream
) -> None:
    async with runtime.worker(flow(), server.url):
        pass
    await edit_stream(jetstream, subjects=["pf.v1.default.0.>", "foreign.>"])
    await edit_consumer(jetstream, "planned-1=first", ack_wait=7 * SECOND)
    with pytest.raises(TopologyDrift, match=r"subjects is .*foreign.*, needed is pf\.v1\.default"):
        async with runtime.worker(flow(), server.url):
            pass
    assert (await jetstream.consumer_info(LOG, "planned-1=first")).config.ack_wait == 7 * SECOND


async def test_limits_follow_the_storage_that_is_given_and_no_other(
    server: EmbeddedServer, jetstream: JetStream
) -> None:
    large = Storage(log_bytes=2 * 1024**3)
    async with runtime.worker(flow(), server.url, storage=large):
        pass
    async with runtime.worker(flow(), server.url):
        assert (await jetstream.stream_info(LOG)).config.max_bytes == 2 * 1024**3
    async with runtime.worker(flow(), server.url, storage=Storage()):
        assert (await jetstream.stream_info(LOG)).config.max_bytes == 1024**3


async def test_many_workers_that_start_at_once_agree(server: EmbeddedServer) -> None:
    connections = [
        await Connection.open(ConnectionSettings(servers=(server.url,))) for _ in range(6)
    ]
    try:
        async with AsyncExitStack() as stack:
            leases = (5.0, 6.0, 7.0)
            await asyncio.gather(
                *(
                    stack.enter_async_context(
                        runtime.worker(flow(), connection, lease=leases[number % 3], drain=1.0)
                    )
                    for number, connection in enumerate(connections)
                )
            )
    finally:
        for connection in connections:
            await connection.close()
