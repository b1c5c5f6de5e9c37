"""A provider of metrics of our own: the SDK, OTLP or a Prometheus page, by `OTEL_*` variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from penguiflow.telemetry.provider import TelemetryMissing

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource

PROMETHEUS_PORT: Final = 9464
"""Where OpenTelemetry's Prometheus exporters listen by default."""


def wanted_readers(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The exporters of metrics that the variables ask for: `otlp`, `prometheus`.

    Unlike spans, metrics are not exported because there is an `OTEL_EXPORTER_OTLP_ENDPOINT`: many
    a backend for traces, Jaeger among them, takes none.

    Raises:
        TelemetryMissing: there is no exporter of that name here.
    """
    environment = os.environ if environment is None else environment
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ()
    named = [n.strip() for n in environment.get("OTEL_METRICS_EXPORTER", "").split(",")]
    names = tuple(n for n in named if n not in ("", "none"))
    for name in names:
        if name not in ("otlp", "prometheus"):
            msg = f"OTEL_METRICS_EXPORTER names {name!r}; there are otlp, prometheus and none"
            raise TelemetryMissing(msg)
    if not names and "none" not in named:
        return ("otlp",) if environment.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") else ()
    return names


def new_meter_provider(readers: list[MetricReader], resource: Resource) -> MeterProvider:
    """A provider for this process.

    Raises:
        TelemetryMissing: the extra `otel` is not installed.
    """
    from opentelemetry.sdk.metrics import MeterProvider

    return MeterProvider(readers, resource, shutdown_on_exit=False)


def otlp_reader() -> MetricReader:
    """Exports every `OTEL_METRIC_EXPORT_INTERVAL` (60 s) by OTLP over HTTP."""
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    except ImportError as error:
        raise _missing() from error
    return PeriodicExportingMetricReader(OTLPMetricExporter())


def prometheus_reader(port: int | None = None) -> MetricReader:
    """A page for Prometheus to read, on `OTEL_EXPORTER_PROMETHEUS_HOST` (localhost).

    Args:
        port: Where; by default `OTEL_EXPORTER_PROMETHEUS_PORT`, else 9464.

    Raises:
        TelemetryMissing: the extra `otel` is not installed.
        OSError: the port is taken.
    """
    try:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from prometheus_client import start_http_server
    except ImportError as error:
        raise _missing() from error
    host = os.environ.get("OTEL_EXPORTER_PROMETHEUS_HOST", "localhost")
    if port is None:
        port = int(os.environ.get("OTEL_EXPORTER_PROMETHEUS_PORT", "") or PROMETHEUS_PORT)
    reader = PrometheusMetricReader()
    start_http_server(port, host)
    return reader


def _missing() -> TelemetryMissing:
    return TelemetryMissing("metrics cannot be exported: pip install 'penguiflow[otel]'")


__all__ = ["new_meter_provider", "otlp_reader", "prometheus_reader", "wanted_readers"]
