"""Our own encoding of a span is the one of the SDK."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from penguiflow.telemetry.light import LightTracer
from penguiflow.telemetry.wire import SpanEncoder, varint


def _tracer() -> tuple[LightTracer, InMemorySpanExporter]:
    kept, processor = InMemorySpanExporter(), SynchronousMultiSpanProcessor()
    processor.add_span_processor(SimpleSpanProcessor(kept))
    resource = Resource({"service.name": "test", "process.pid": 7})
    return LightTracer(resource=resource, sampler=ALWAYS_ON, processor=processor), kept


def test_the_bytes_say_what_the_sdk_says() -> None:
    tracer, kept = _tracer()
    state = TraceState([("vendor", "value")])
    far = SpanContext(5, 6, True, TraceFlags(1), state)
    values = {
        "text": "ü",
        "yes": True,
        "no": False,
        "one": 1,
        "less": -3,
        "large": 2**62,
        "part": 0.5,
        "bytes": b"\x00\xff",
        "texts": ["a", "b"],
        "numbers": (1, 2),
        "penguiflow.trace_id": "a" * 300,
    }
    root = tracer.start("root", SpanKind.INTERNAL, {}, parent=None, trace_id="a" * 32)
    child = tracer.start("child", SpanKind.CONSUMER, dict(values), parent=far, trace_id=None)
    child.add_event("happened", {"true": True, "one": 1})
    # Without a state: the SDK leaves that of a link out.
    child.add_link(SpanContext(5, 7, True, TraceFlags(1)), {"nats.stream.sequence": 300})
    child.add_link(root.get_span_context())
    child.set_status(Status(StatusCode.ERROR, "why"))
    for span in (child, root):
        span.end()
    spans = kept.get_finished_spans()
    encoder = SpanEncoder()
    for _ in range(2):  # the second time from what was kept
        own = ExportTraceServiceRequest()
        own.ParseFromString(encoder.request(spans))
        assert own == encode_spans(spans)


def test_a_number_of_any_size_is_encoded() -> None:
    assert [varint(n) for n in (0, 127, 128, 300)] == [b"\x00", b"\x7f", b"\x80\x01", b"\xac\x02"]


def test_what_a_node_says_of_its_span_is_taken_within_the_limits() -> None:
    tracer, kept = _tracer()
    span = tracer.start("span", SpanKind.INTERNAL, {}, parent=None, trace_id=None)
    span.set_attributes({"good": 1, "bad": object()})  # type: ignore[dict-item]
    for number in range(200):
        span.set_attribute(f"a{number}", number)
        span.add_event("event", {"n": number})
        span.add_link(SpanContext(1, number + 1, False))
    span.record_exception(ValueError("mine to say"))
    span.update_name("renamed")
    span.end()
    span.set_attribute("late", 1)
    (ended,) = kept.get_finished_spans()
    assert ended.name == "renamed"
    assert (len(ended.attributes or {}), len(ended.events), len(ended.links)) == (128, 128, 128)
    assert "bad" not in ended.attributes
    assert not span.is_recording()
