"""An exporter that encodes our own spans itself and leaves the rest to the SDK's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from penguiflow.telemetry.light import LightSpan
from penguiflow.telemetry.wire import SpanEncoder

_TRANSPORT = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class LightExporter(SpanExporter):
    """Hands encoded spans to the transport of the SDK's OTLP exporter.

    That transport (address, certificates, headers, compression, retries) is no part of the SDK's
    promised interface. Where it looks different, the SDK encodes these spans as well.
    """

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._encoder = SpanEncoder()
        self._send: Any = None
        if type(inner).__module__ == _TRANSPORT:
            self._send = getattr(getattr(inner, "_client", None), "export", None)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        light = [span for span in spans if isinstance(span, LightSpan)]
        if self._send is None or not light:
            return self._inner.export(spans)
        others = [span for span in spans if not isinstance(span, LightSpan)]
        result = self._export(light)
        if others and self._inner.export(others) is SpanExportResult.FAILURE:
            return SpanExportResult.FAILURE
        return result

    def _export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        sent = self._send(self._encoder.request(spans))
        good = getattr(sent, "success", None)
        return SpanExportResult.SUCCESS if good else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._inner.force_flush(timeout_millis)


__all__ = ["LightExporter"]
