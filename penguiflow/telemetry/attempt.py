"""One run of a node as a span, or as a span that is not recorded."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.context import attach, detach
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
)

from penguiflow.telemetry import conventions as c
from penguiflow.telemetry.ids import traceparent_of, tracestate_of
from penguiflow.telemetry.outcomes import BY_EVENT, SPAN_EVENTS, TIMED_OUT, error_type
from penguiflow.telemetry.tracer import Starts, around

if TYPE_CHECKING:
    from penguiflow.telemetry.redaction import Redaction

_ERROR = Status(StatusCode.ERROR)


class Attempt:
    """A span and how it ends. Of a trace that is not sampled it only passes the context on."""

    __slots__ = ("context", "outcome", "recording", "span", "trace_id")

    def __init__(self, span: Span, trace_id: str | None) -> None:
        self.span: Span = span
        self.context: SpanContext = span.get_span_context()
        self.recording: bool = span.is_recording()
        self.trace_id: str | None = trace_id
        """The flow's."""
        self.outcome: str | None = None

    @property
    def traceparent(self) -> str:
        return traceparent_of(self.context)

    @property
    def tracestate(self) -> str | None:
        return tracestate_of(self.context)

    def fail(self, kind: str) -> None:
        """It is an error of this type."""
        self.span.set_attribute(c.ERROR_TYPE, kind)
        self.span.set_status(_ERROR)

    def end(self, outcome: str) -> None:
        """It ended so, unless something said otherwise before."""
        self.span.set_attribute(c.OUTCOME, self.outcome or outcome)
        self.span.end()


def forwarded(context: SpanContext, trace_id: str | None) -> Attempt:
    """A run of a trace that is not sampled: its context goes on as it came."""
    return Attempt(NonRecordingSpan(context), trace_id)


async def within(span: Span, work: Coroutine[Any, Any, Any]) -> Any:
    """Await the work with the span, and nothing else, as its OpenTelemetry context."""
    token = attach(around(span))
    try:
        return await work
    finally:
        detach(token)


def told(
    attempt: Attempt,
    event_type: str,
    exc: BaseException | None,
    extra: Mapping[str, Any] | None,
    redaction: Redaction,
) -> None:
    """What a FlowEvent of the run says, on its span."""
    outcome = BY_EVENT.get(event_type)
    if outcome is not None:
        attempt.outcome = outcome
    if exc is not None and event_type != "node_failed":
        timed_out = event_type == "node_timeout"
        attempt.fail(TIMED_OUT if timed_out else error_type(exc))
        attempt.span.add_event(c.EXCEPTION, redaction.exception(exc))
    if event_type == "deadline_skip":
        attempt.fail(TIMED_OUT)
    if event_type in SPAN_EVENTS:
        sleep = (extra or {}).get("sleep_s")
        attempt.span.add_event(event_type, None if sleep is None else {c.SLEEP: sleep})


def correlated(attempt: Attempt, extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """The extra of a FlowEvent, with the ids that find its span."""
    context, found = attempt.context, dict(extra or {})
    found["span_id"] = f"{context.span_id:016x}"
    own = f"{context.trace_id:032x}"
    if own != attempt.trace_id:
        found["otel_trace_id"] = own
    return found


def links_to(contexts: list[tuple[SpanContext | None, dict[str, Any]]]) -> list[Link]:
    """Links to what these contexts name."""
    return [Link(context, attributes) for context, attributes in contexts if context is not None]


class Part:
    """What the spans of one flow, node or agent share."""

    def __init__(self, tracer: Starts, redaction: Redaction) -> None:
        self._tracer = tracer
        self.redaction = redaction

    def skips(self, parent: SpanContext | None) -> bool:
        """Whether no span is made, since the message was not sampled."""
        if parent is None or parent.trace_flags.sampled:
            return False
        return self._tracer.trusts_parent

    def start(
        self,
        name: str,
        kind: SpanKind,
        attributes: dict[str, Any],
        *,
        parent: SpanContext | None,
        trace_id: str | None,
        links: list[Link] | tuple[Link, ...] = (),
    ) -> Attempt:
        """A run of a trace: recorded, or passed on when its sender did not sample it."""
        if self.skips(parent):
            assert parent is not None  # noqa: S101 - only a parent is skipped
            return forwarded(parent, trace_id)
        if trace_id is not None:
            attributes[c.TRACE_ID] = trace_id
        span = self._tracer.start(
            name, kind, attributes, parent=parent, trace_id=trace_id, links=links
        )
        return Attempt(span, trace_id)


__all__ = ["Attempt", "Part", "correlated", "forwarded", "links_to", "told", "within"]
