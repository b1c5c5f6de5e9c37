"""One call that turns telemetry on: `telemetry = setup("orders")`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from opentelemetry import trace

from penguiflow.telemetry.metric_provider import (
    new_meter_provider,
    otlp_reader,
    prometheus_reader,
    wanted_readers,
)
from penguiflow.telemetry.metrics import Metrics
from penguiflow.telemetry.provider import is_disabled, is_wanted, new_provider, new_resource
from penguiflow.telemetry.redaction import Redact
from penguiflow.telemetry.together import Instruments
from penguiflow.telemetry.tracing import Tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.sampling import Sampler

    from penguiflow.telemetry.instrument import Instrument

SHUTDOWN_LIMIT = 5.0
"""Seconds that the last spans are given."""


class Telemetry(Instruments):
    """Instruments with what exports for them. Give it as `telemetry=`, and shut it down last.

    Args:
        parts: The instruments.
        closing: What flushes and ends each exporter. It may block; a thread of its own calls it.
    """

    def __init__(self, *parts: Instrument, closing: tuple[Callable[[], object], ...] = ()) -> None:
        super().__init__(parts)
        self._closing = closing
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.shutdown()

    async def shutdown(self, timeout: float = SHUTDOWN_LIMIT) -> bool:
        """Export what is left, for at most `timeout` seconds; the event loop goes on meanwhile.

        Returns:
            Whether all of it was handed to the exporters' end. What was not is given up: the
            threads that still wait for a collector do not hold the process. Idempotent.
        """
        if self._closed or not self._closing:
            return True
        self._closed = True
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        left = len(self._closing)

        def one_ended() -> None:
            nonlocal left
            left -= 1
            if not left:
                ended.set()

        def close(closing: Callable[[], object]) -> None:
            # What an exporter raises at its end is logged by it; a loop that is gone waits no more.
            with contextlib.suppress(Exception):
                closing()
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(one_ended)

        for each in self._closing:
            # A daemon: the SDK's own limits are longer than ours, and are not kept.
            threading.Thread(target=close, args=(each,), daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await ended.wait()
        return ended.is_set()


def setup(
    service_name: str | None = None,
    *,
    default_service_name: str = "penguiflow",
    attributes: Mapping[str, Any] | None = None,
    exporter: SpanExporter | None = None,
    sampler: Sampler | None = None,
    join_ambient: bool = False,
    trust_parent_sampling: bool | None = None,
    redact: Redact | None = None,
    set_global: bool = False,
    metrics: bool | None = None,
    prometheus_port: int | None = None,
    by_tenant: bool = False,
) -> Telemetry:
    """Make spans and metrics and export them, with providers of our own.

    Everything that is not given here comes from the standard variables, such as
    `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`,
    `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_MAX_QUEUE_SIZE` and `OTEL_METRICS_EXPORTER`.
    `OTEL_TRACES_EXPORTER=none` makes no spans.

    Args:
        service_name: `service.name` of the resource, whatever the variables say.
        default_service_name: The same, when they say nothing.
        attributes: More of the resource.
        exporter: Takes the spans; by default OTLP over HTTP.
        sampler: Decides which traces are kept; by default what the variables say, else all.
        join_ambient, trust_parent_sampling, redact: As of `Tracing`.
        set_global: Whether other libraries' spans are made by this provider, too.
        metrics: Whether to export metrics by OTLP; by default what `OTEL_METRICS_EXPORTER` says,
            else only where there is an `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`.
        prometheus_port: Serve the metrics to Prometheus on this port of localhost.
        by_tenant: Whether metrics have the tenant as an attribute.

    Raises:
        TelemetryMissing: the extra `otel` is not installed.
        OSError: the port is taken.
    """
    resource = new_resource(service_name, default_service_name, attributes)
    if is_disabled():
        return Telemetry()
    parts: list[Instrument] = []
    closing: list[Callable[[], object]] = []
    if exporter is not None or os.environ.get("OTEL_TRACES_EXPORTER", "").strip() != "none":
        provider, tracer = new_provider(
            resource, exporter=exporter, sampler=sampler, trust_parent=trust_parent_sampling
        )
        if set_global:
            trace.set_tracer_provider(provider)
        parts.append(Tracing.by(tracer, join_ambient=join_ambient, redact=redact))
        closing.append(provider.shutdown)
    readers = _readers(metrics, prometheus_port)
    if readers:
        meters = new_meter_provider(readers, resource)
        parts.append(Metrics(meters, by_tenant=by_tenant))
        closing.append(meters.shutdown)
    return Telemetry(*parts, closing=tuple(closing))


def from_environment(default_service_name: str = "penguiflow") -> Telemetry:
    """What the `OTEL_*` variables ask for; where they ask for nothing, nothing is observed.

    Raises:
        TelemetryMissing: they ask for what is not installed.
    """
    if is_wanted() or wanted_readers():
        return setup(default_service_name=default_service_name)
    return Telemetry()


def _readers(metrics: bool | None, port: int | None) -> list[MetricReader]:
    """What reads the metrics, by what was asked for here and by the variables."""
    named = wanted_readers()
    readers = []
    if metrics or (metrics is None and "otlp" in named):
        readers.append(otlp_reader())
    if port is not None or (metrics is None and "prometheus" in named):
        readers.append(prometheus_reader(port))
    return readers


__all__ = ["SHUTDOWN_LIMIT", "Telemetry", "from_environment", "setup"]
