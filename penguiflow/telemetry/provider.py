"""A provider of our own: the SDK, OTLP and a resource, by the standard `OTEL_*` variables."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.sampling import Sampler

    from penguiflow.telemetry.light import LightTracer

_EXPORT_EVERY = 200.0
"""Instead of the SDK's 5,000: the spans of the last seconds before a kill are those that somebody
will look for, and whatever they published would have no parent."""
_GROUP = "opentelemetry_traces_exporter"
_EXPORTERS = {"otlp": "otlp_proto_http"}


class TelemetryMissing(RuntimeError):
    """Something that exports spans is not installed; the message says what."""


def is_disabled(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the variables switch OpenTelemetry off."""
    environment = os.environ if environment is None else environment
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def is_wanted(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the variables ask for spans: they name an endpoint or an exporter."""
    environment = os.environ if environment is None else environment
    if is_disabled(environment):
        return False
    named = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    if named:
        return named != "none"
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(environment.get(name) for name in endpoints)


def new_provider(
    resource: Resource,
    *,
    exporter: SpanExporter | None,
    sampler: Sampler | None,
    trust_parent: bool | None,
) -> tuple[TracerProvider, LightTracer]:
    """A provider for this process, and our tracer; made after a fork, not before.

    Raises:
        TelemetryMissing: an exporter that was asked for is not installed.
    """
    from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from penguiflow.telemetry.light import LightTracer
    from penguiflow.telemetry.sending import LightExporter

    processor = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]
    provider = TracerProvider(
        sampler=sampler,
        resource=resource,
        active_span_processor=processor,
        shutdown_on_exit=False,  # it would wait for a collector that does not answer
    )
    exporters = [exporter] if exporter is not None else [_exporter(n) for n in _named()]
    batches = [
        BatchSpanProcessor(LightExporter(each), schedule_delay_millis=_delay())
        for each in exporters
    ]
    for each_batch in batches:
        processor.add_span_processor(each_batch)
    tracer = LightTracer(
        resource=provider.resource,
        sampler=provider.sampler,
        processor=batches[0] if len(batches) == 1 else processor,
        trust_parent=trust_parent,
    )
    return provider, tracer


def _delay() -> float:
    """Milliseconds between two exports: what a worker that is killed takes with it."""
    return float(os.environ.get("OTEL_BSP_SCHEDULE_DELAY", "") or _EXPORT_EVERY)


def new_resource(
    service_name: str | None, default: str, attributes: Mapping[str, Any] | None
) -> Resource:
    """What tells this process from others. What the variables say wins over our defaults.

    Raises:
        TelemetryMissing: the extra `otel` is not installed.
    """
    try:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    except ImportError as error:
        msg = "the OpenTelemetry SDK is not installed: pip install 'penguiflow[otel]'"
        raise TelemetryMissing(msg) from error

    own: dict[str, Any] = {
        "service.name": default,
        "service.instance.id": secrets.token_hex(8),
        "process.pid": os.getpid(),
        "host.name": socket.gethostname(),
    }
    given = dict(attributes or {})
    if service_name is not None:
        given["service.name"] = service_name
    said = OTELResourceDetector().detect()
    return Resource.create(own).merge(Resource(own)).merge(said).merge(Resource(given))


def _named() -> list[str]:
    """The exporters that `OTEL_TRACES_EXPORTER` names; OTLP by default."""
    names = os.environ.get("OTEL_TRACES_EXPORTER", "").split(",")
    return [name.strip() for name in names if name.strip() not in ("", "none")] or (
        [] if "none" in names else ["otlp"]
    )


def _exporter(name: str) -> SpanExporter:
    full = _EXPORTERS.get(name, name)
    if name == "otlp" and _protocol() == "grpc":
        full = "otlp_proto_grpc"
    for found in entry_points(group=_GROUP, name=full):
        try:
            exporter: SpanExporter = found.load()()
        except ImportError as error:
            raise _no_exporter(name, full) from error
        return exporter
    raise _no_exporter(name, full)


def _protocol() -> str:
    traces = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
    return traces or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")


def _no_exporter(name: str, full: str) -> TelemetryMissing:
    return TelemetryMissing(
        f"the span exporter {name!r} ({full}) is not installed: pip install 'penguiflow[otel]', "
        "or the package of that exporter"
    )


__all__ = ["TelemetryMissing", "is_disabled", "is_wanted", "new_provider", "new_resource"]
