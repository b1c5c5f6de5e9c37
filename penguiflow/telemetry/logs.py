"""Log records that find their span."""

from __future__ import annotations

import logging

from opentelemetry.trace import get_current_span


class SpanIds(logging.Filter):
    """Gives every record the ids of the current span: `handler.addFilter(SpanIds())`.

    The attributes are named as OpenTelemetry's own logging integration names them. Records that
    have them already, and records outside of a span, stay as they are.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        context = get_current_span().get_span_context()
        if context.is_valid and "otelSpanID" not in vars(record):
            record.otelTraceID = f"{context.trace_id:032x}"
            record.otelSpanID = f"{context.span_id:016x}"
            record.otelTraceSampled = context.trace_flags.sampled
        return True


__all__ = ["SpanIds"]
