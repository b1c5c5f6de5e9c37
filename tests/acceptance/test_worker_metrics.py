"""`penguiflow worker` serves its metrics to Prometheus, and sends them by OTLP, while it works."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from penguiflow import PenguiFlow
from penguiflow.cli.loading import load_flow
from penguiflow.telemetry import metric_names as m
from penguiflow.telemetry.metric_names import Metric
from penguiflow_nats import runtime
from penguiflow_nats.server import EmbeddedServer
from tests.acceptance.cli_process import FLOW, running
from tests.telemetry.receiver import Receiver

LONG = 3600.0
"""Seconds that the node `rest` works on such a message: until the test ends."""


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a module of flows in it."""
    (tmp_path / "flows.py").write_text(FLOW)
    return tmp_path


@pytest.fixture
def flow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> PenguiFlow:
    monkeypatch.syspath_prepend(str(folder))
    return load_flow(f"{folder / 'flows.py'}:doubling")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Page:
    """What Prometheus would read."""

    def __init__(self, port: int) -> None:
        self._url = f"http://localhost:{port}/metrics"

    def _read(self) -> str:
        with urllib.request.urlopen(self._url, timeout=10) as page:
            return str(page.read().decode())

    async def until(self, held: Callable[[str], bool]) -> str:
        """The page, once the condition holds for it."""
        text = ""
        try:
            async with asyncio.timeout(30):
                while not held(text):
                    text = await asyncio.to_thread(self._read)
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"not so in 30 s: {text}") from None
        return text


def _sum(text: str, metric: Metric, node: str, **wanted: str) -> float:
    """The sum over the samples of a node."""
    labels = {"node_name": node, **wanted}
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if re.match(rf"{metric.prometheus}(_count)?\{{", line)
        and all(f'penguiflow_{key}="{value}"' in line for key, value in labels.items())
    )


async def test_prometheus_sees_what_a_worker_does(
    server: EmbeddedServer, folder: Path, flow: PenguiFlow
) -> None:
    port = _free_port()
    variables = {
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
    }
    async with (
        running("worker", "flows:doubling", "--nats", server.url, cwd=folder, env=variables) as run,
        runtime.client(flow, server.url) as client,
    ):
        await run.line(" ready: ")
        page = Page(port)
        for number in range(3):
            assert await client.round_trip(number, timeout=30) == 2 * number
        text = await page.until(lambda text: _sum(text, m.ATTEMPTS, "rest") == 3)
        assert _sum(text, m.ATTEMPTS, "double", outcome="ok") == 3
        assert _sum(text, m.PROCESS, "double") == 3
        assert _sum(text, m.HOP, "rest") == 3
        assert _sum(text, m.IN_FLIGHT, "rest") == 0
        await client.emit(LONG)
        await page.until(lambda text: _sum(text, m.IN_FLIGHT, "rest") == 1)
        text = await page.until(lambda text: _sum(text, m.LAG, "rest") == 1)
        assert f"# TYPE {m.PENDING.prometheus} gauge" in text
        assert _sum(text, m.LAG, "double") == 0


async def test_metrics_of_a_worker_come_by_otlp(
    server: EmbeddedServer, folder: Path, flow: PenguiFlow
) -> None:
    with Receiver() as receiver:
        variables = {
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
            "OTEL_SERVICE_NAME": "doubler",
        }
        async with (
            running(
                "worker", "flows:doubling", "--nats", server.url, cwd=folder, env=variables
            ) as worker,
            runtime.client(flow, server.url) as client,
        ):
            await worker.line(" ready: ")
            await client.round_trip(21, timeout=30)
            found = await asyncio.to_thread(receiver.wait_measured, m.ATTEMPTS.name, 1)
            assert found.resource["service.name"] == "doubler"
            assert found.resource["process.pid"] == worker.process.pid
            assert found.attributes["penguiflow.flow.name"] == "doubling-1"
            await asyncio.to_thread(receiver.wait_measured, m.HOP.name, 1)
            worker.signal(signal.SIGTERM)
            assert await worker.status(timeout=30) == 0
