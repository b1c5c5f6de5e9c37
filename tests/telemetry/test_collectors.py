"""A collector that is away, silent or slow is never in the way of a flow."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from penguiflow.telemetry import Telemetry, setup
from tests.acceptance.cli_process import ROOT, environment
from tests.contract.engine.flows import message, single, square
from tests.telemetry.receiver import Receiver

MESSAGES = 300


@contextmanager
def dead() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def silent() -> Iterator[str]:
    """Takes every connection and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


async def _work(telemetry: Telemetry) -> None:
    """A flow does all its work."""
    flow = single(square)
    flow.telemetry = telemetry
    flow.run()
    for number in range(MESSAGES):
        await flow.emit(message(number))
        assert (await flow.fetch()).payload == number**2
    await flow.stop()


@pytest.fixture
def small_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "32")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")


@pytest.mark.parametrize("collector", [dead, silent])
async def test_a_flow_works_on_and_the_shutdown_keeps_its_limit(
    small_queue: None, monkeypatch: pytest.MonkeyPatch, collector: object
) -> None:
    with collector() as url:  # type: ignore[operator]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        telemetry = setup("test")
        async with asyncio.timeout(30):
            await _work(telemetry)
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        async with asyncio.timeout(9):  # a request alone takes the SDK ten seconds
            assert not await telemetry.shutdown(timeout=0.5)
        assert ticks > 5  # acks and heartbeats went on
        assert await telemetry.shutdown(timeout=0.5)  # a second time there is nothing to do
        ticking.cancel()


async def test_a_slow_collector_gets_what_the_queue_holds(
    small_queue: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver(delay=0.2) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        telemetry = setup("test")
        await _work(telemetry)
        assert await telemetry.shutdown(timeout=30)
        assert 0 < len(receiver.spans) < 2 * MESSAGES


async def test_the_last_spans_go_out_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        async with setup("test") as telemetry:
            flow = single(square)
            flow.telemetry = telemetry
            flow.run()
            await flow.emit(message(1))
            await flow.fetch()
            await flow.stop()
        assert sorted(span.name for span in receiver.spans) == ["emit single", "only"]


SCRIPT = """
import asyncio
from penguiflow import Node, NodePolicy, create
from penguiflow.telemetry import setup
async def double(value, ctx):
    return value * 2
async def main():
    async with setup("script") as telemetry:
        flow = create(Node(double, policy=NodePolicy(validate="none")).to(), telemetry=telemetry)
        flow.run()
        await flow.emit(21)
        print(await flow.fetch(), flush=True)
        await flow.stop()
asyncio.run(main())
"""


def test_a_silent_collector_does_not_hold_the_process() -> None:
    with silent() as url:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            cwd=ROOT,
            env=environment({"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "10"}),
            capture_output=True,
            text=True,
            timeout=25,  # the SDK's own end takes thirty seconds and more
            check=True,
        )
    assert done.stdout == "42\n"
