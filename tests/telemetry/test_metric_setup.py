"""How metrics are turned on: by variables, by the call, and what is served then."""

from __future__ import annotations

import asyncio
import socket
import urllib.request

import pytest

from penguiflow import create
from penguiflow.telemetry import Telemetry, TelemetryMissing, Tracing, setup
from penguiflow.telemetry import metric_names as m
from penguiflow.telemetry.metric_provider import wanted_readers
from penguiflow.telemetry.metrics import Metrics
from tests.contract.engine.flows import PLAIN, message, square


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("variables", "readers"),
    [
        ({}, ()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger:4318"}, ()),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector:4318/v1/metrics"}, ("otlp",)),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, ("prometheus",)),
        ({"OTEL_METRICS_EXPORTER": "otlp, prometheus"}, ("otlp", "prometheus")),
        (
            {
                "OTEL_METRICS_EXPORTER": "none",
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector:4318/v1/metrics",
            },
            (),
        ),
        ({"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_SDK_DISABLED": "true"}, ()),
    ],
)
def test_the_variables_choose_who_reads(
    variables: dict[str, str], readers: tuple[str, ...]
) -> None:
    assert wanted_readers(variables) == readers


def test_an_unknown_exporter_is_an_error_that_says_which_there_are() -> None:
    with pytest.raises(TelemetryMissing, match="otlp, prometheus and none"):
        wanted_readers({"OTEL_METRICS_EXPORTER": "statsd"})


def _parts(telemetry: Telemetry) -> set[type]:
    return {type(part) for part in telemetry.parts}


async def test_metrics_alone_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    async with setup("orders", prometheus_port=_free_port()) as telemetry:
        assert _parts(telemetry) == {Metrics}
    monkeypatch.delenv("OTEL_TRACES_EXPORTER")
    async with setup("orders") as telemetry:
        assert _parts(telemetry) == {Tracing}


async def test_prometheus_reads_a_page_with_the_names_that_we_say() -> None:
    port = _free_port()
    async with setup("orders", prometheus_port=port) as telemetry:
        from penguiflow import Node

        flow = create(Node(square, name="a", policy=PLAIN).to(), name="f", telemetry=telemetry)
        flow.run()
        await flow.emit(message(2))
        await flow.fetch()
        await flow.stop()

        def read() -> str:
            with urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=10) as page:
                text: str = page.read().decode()
                return text

        text = await asyncio.to_thread(read)
    assert f"{m.NODE.prometheus}_count{{" in text
    assert f"{m.ATTEMPTS.prometheus}{{" in text
    assert 'penguiflow_node_name="a"' in text
    assert 'penguiflow_outcome="ok"' in text
    assert f"# TYPE {m.IN_FLIGHT.prometheus} gauge" in text


async def test_every_metric_has_on_the_page_the_name_that_dashboards_use() -> None:
    from prometheus_client import REGISTRY

    port = _free_port()
    async with setup("orders", prometheus_port=port) as telemetry:
        (metrics,) = [part for part in telemetry.parts if isinstance(part, Metrics)]
        labels = (("a", "b"),)
        for metric in m.METRICS:
            if metric.kind == "histogram":
                metrics.meters.timer(metric).record(0.1, labels)
            else:
                metrics.meters.tally(metric).at(labels).value = 1
        names = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    for metric in m.METRICS:
        suffix = "_count" if metric.kind == "histogram" else ""
        assert metric.prometheus + suffix in names, metric.name
