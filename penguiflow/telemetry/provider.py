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

_GROUP = "opentelemetry_traces_exporter"
_EXPORTERS = {"otlp": "otlp_proto_http"}


class TelemetryMissing(RuntimeError):
    """Something that exports spans is not installed; the message says what."""


def is_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the variables ask for spans: they name an endpoint or an exporter."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    named = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    if named:
        return named != "none"
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(environment.get(name) for name in endpoints)


def new_provider(
    service_name: str | None,
    *,
    default_service_name: str,
    attributes: Mapping[str, Any] | None,
    exporter: SpanExporter | None,
    sampler: Sampler | None,
) -> TracerProvider:
    """A provider for this process; made after a fork, not before.

    Raises:
        TelemetryMissing: the extra `otel`, or an exporter that was asked for, is not installed.
    """
    try:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        msg = "the OpenTelemetry SDK is not installed: pip install 'penguiflow[otel]'"
        raise TelemetryMissing(msg) from error
    provider = TracerProvider(
        sampler=sampler,
        resource=_resource(service_name, default_service_name, attributes),
        shutdown_on_exit=False,  # it would wait for a collector that does not answer
    )
    exporters = [exporter] if exporter is not None else [_exporter(n) for n in _named()]
    for each in exporters:
        provider.add_span_processor(BatchSpanProcessor(each))
    return provider


def _resource(
    service_name: str | None, default: str, attributes: Mapping[str, Any] | None
) -> Resource:
    """What tells this process from others. What the variables say wins over our defaults."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

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


__all__ = ["TelemetryMissing", "is_wanted", "new_provider"]
