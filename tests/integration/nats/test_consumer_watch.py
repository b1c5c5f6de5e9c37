"""A worker hears by name what somebody else does to its consumer, also when it is busy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from penguiflow_nats import runtime
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.stream_types import SECOND
from tests.support.eventually import eventually
from tests.support.flows import chain, node

LOG, NAME = "PF_default_0", "watched-1=busy"


class Watched:
    """A worker whose only place is taken, so that it waits for nothing."""

    def __init__(self, jetstream: JetStream) -> None:
        self.jetstream = jetstream
        self.gone: list[tuple[str, str]] = []
        self.entered = asyncio.Event()

    async def busy(self, value: Any, ctx: Any) -> Any:
        self.entered.set()
        await asyncio.Event().wait()

    async def edit(self, **changes: Any) -> None:
        config = (await self.jetstream.consumer_info(LOG, NAME)).config
        await self.jetstream.create_consumer(LOG, msgspec.structs.replace(config, **changes))


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    async with (
        EmbeddedServer() as server,
        runtime.connected(server.url) as connection,
    ):
        found = Watched(JetStream(connection))
        flow = chain(node(found.busy, "busy"), name="watched")
        async with (
            runtime.worker(
                flow,
                server.url,
                concurrency=1,
                drain=0.1,
                on_gone=lambda *report: found.gone.append(report),
            ),
            runtime.client(flow, server.url) as client,
        ):
            await client.emit("x")
            await found.entered.wait()
            yield found


async def test_a_busy_worker_hears_within_two_seconds_that_its_consumer_was_deleted(
    watched: Watched,
) -> None:
    await watched.jetstream.delete_consumer(LOG, NAME)
    await eventually(lambda: watched.gone, timeout=2.0)
    assert watched.gone == [
        ("busy", f"consumer {NAME} of stream {LOG}: consumer not found"),
    ]


async def test_it_hears_of_a_deleted_stream(watched: Watched) -> None:
    await watched.jetstream.delete_stream(LOG)
    await eventually(lambda: watched.gone, timeout=2.0)
    assert "stream not found" in watched.gone[0][1]


async def test_it_hears_that_its_consumer_reads_something_else(watched: Watched) -> None:
    await watched.edit(filter_subjects=["pf.v1.default.0.watched-1.other"])
    await eventually(lambda: watched.gone, timeout=2.0)
    node_name, reason = watched.gone[0]
    assert node_name == "busy"
    assert f"consumer {NAME}: filter_subjects is pf.v1.default.0.watched-1.other" in reason


async def test_other_changes_are_said_once_and_do_not_end_it(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        await watched.edit(ack_wait=7 * SECOND)
        await eventually(lambda: "ack_wait is 7 s, needed is 15 s" in caplog.text, timeout=2.0)
        until = datetime.now(UTC) + timedelta(hours=1)
        await watched.jetstream.pause_consumer(LOG, NAME, until)
        await eventually(lambda: "it is paused" in caplog.text, timeout=2.0)
        assert caplog.text.count("ack_wait is 7 s") == 1
    assert not watched.gone


async def test_one_that_was_deleted_and_made_anew_is_said(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    config = (await watched.jetstream.consumer_info(LOG, NAME)).config
    with caplog.at_level(logging.ERROR):
        await watched.jetstream.delete_consumer(LOG, NAME)
        await watched.jetstream.create_consumer(LOG, config)
        await eventually(lambda: "deleted and made anew" in caplog.text, timeout=2.0)
