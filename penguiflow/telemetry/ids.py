"""From a flow's trace id to a W3C trace id, and trace contexts as text. Pure."""

from __future__ import annotations

import hashlib
import re

from opentelemetry.trace import SpanContext, TraceFlags, TraceState, get_current_span

_HEX = re.compile(r"[0-9a-fA-F]{32}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL
)


def trace_number(trace_id: str) -> int:
    """The W3C trace id of a flow's trace id.

    32 hex digits and a UUID are taken as they are; of anything else a digest is.
    """
    digits = trace_id
    if _UUID.fullmatch(trace_id):
        digits = trace_id.replace("-", "")
    if _HEX.fullmatch(digits) and (number := int(digits, 16)):
        return number
    text = trace_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest()) or 1


def is_of(context: SpanContext, trace_id: str | None) -> bool:
    """Whether the span is in the trace that the flow's trace id names."""
    return trace_id is not None and context.trace_id == trace_number(trace_id)


def traceparent_of(context: SpanContext) -> str:
    """A span context as a W3C `traceparent`."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def current_traceparent() -> str | None:
    """The W3C trace context of the current span, if there is one."""
    context = get_current_span().get_span_context()
    return traceparent_of(context) if context.is_valid else None


def tracestate_of(context: SpanContext) -> str | None:
    """The W3C `tracestate` of a span context; None when it is empty."""
    return context.trace_state.to_header() or None if context.trace_state else None


def span_context(traceparent: str | None, tracestate: str | None = None) -> SpanContext | None:
    """The span context that a message carries; None when it carries none that is valid."""
    if traceparent is None:
        return None
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if more is not None and version == "00":
        return None
    state = TraceState.from_header([tracestate]) if tracestate else None
    context = SpanContext(int(trace, 16), int(span, 16), True, TraceFlags(int(flags, 16)), state)
    return context if context.is_valid else None


__all__ = [
    "current_traceparent",
    "is_of",
    "span_context",
    "trace_number",
    "traceparent_of",
    "tracestate_of",
]
