"""A collector for tests: takes OTLP over HTTP and keeps what came."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Received:
    """One span as it was exported."""

    name: str
    trace: str
    span: str
    parent: str
    kind: int
    flags: int
    status: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    links: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """(trace, span, attributes)"""
    start: int = 0

    @property
    def outcome(self) -> Any:
        return self.attributes.get("penguiflow.outcome")

    @property
    def pid(self) -> int:
        return int(self.resource["process.pid"])


@dataclass
class Measured:
    """One data point of a metric as it was exported."""

    name: str
    value: float
    """Of a histogram, how often."""
    attributes: dict[str, Any]
    resource: dict[str, Any]


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _span(span: Any, resource: dict[str, Any]) -> Received:
    return Received(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        span.flags,
        span.status.code,
        _attributes(span.attributes),
        resource,
        [(event.name, _attributes(event.attributes)) for event in span.events],
        [
            (one.trace_id.hex(), one.span_id.hex(), _attributes(one.attributes))
            for one in span.links
        ],
        span.start_time_unix_nano,
    )


def _read(request: ExportTraceServiceRequest) -> list[Received]:
    return [
        _span(span, _attributes(group.resource.attributes))
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _measured(request: ExportMetricsServiceRequest) -> list[Measured]:
    return [
        Measured(
            metric.name,
            point.count if kind == "histogram" else getattr(point, point.WhichOneof("value")),
            _attributes(point.attributes),
            _attributes(group.resource.attributes),
        )
        for group in request.resource_metrics
        for scope in group.scope_metrics
        for metric in scope.metrics
        for kind in (metric.WhichOneof("data"),)
        for point in getattr(metric, kind).data_points
    ]


class Receiver:
    """Listens on a free port until the block ends.

    Args:
        delay: Seconds until each request is answered.
    """

    def __init__(self, *, delay: float = 0.0) -> None:
        self.delay = delay
        self.bodies: list[bytes] = []
        self._spans: list[Received] = []
        self._measures: list[Measured] = []
        self._news = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                time.sleep(receiver.delay)
                if self.path.endswith("/v1/metrics"):
                    receiver.take_metrics(body)
                else:
                    receiver.take(body)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        with self._news:
            self.bodies.append(body)
            self._spans.extend(_read(request))
            self._news.notify_all()

    def take_metrics(self, body: bytes) -> None:
        request = ExportMetricsServiceRequest()
        request.ParseFromString(body)
        with self._news:
            self._measures.extend(_measured(request))
            self._news.notify_all()

    def wait_measured(self, name: str, at_least: float, timeout: float = 30.0) -> Measured:
        """The first data point of the metric that has reached the value."""

        def reached() -> Measured | None:
            points = (m for m in self._measures if m.name == name and m.value >= at_least)
            return next(points, None)

        with self._news:
            found = self._news.wait_for(reached, timeout)
            names = sorted({(m.name, m.value) for m in self._measures})
        assert found is not None, f"{name} not seen in {timeout} s; there are {names}"
        return found

    @property
    def spans(self) -> list[Received]:
        with self._news:
            return list(self._spans)

    def of(self, trace: str) -> list[Received]:
        """The spans of a trace, in the order of their start."""
        return sorted((s for s in self.spans if s.trace == trace), key=lambda span: span.start)

    def wait(self, condition: Callable[[list[Received]], object], timeout: float = 30.0) -> None:
        """Wait until the condition holds for all spans that came."""
        with self._news:
            held = self._news.wait_for(lambda: condition(self._spans), timeout)
        if not held:
            names = [(s.name, s.outcome, s.parent) for s in self.spans]
            raise AssertionError(f"not seen in {timeout} s; there are {names}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


__all__ = ["Measured", "Received", "Receiver"]
