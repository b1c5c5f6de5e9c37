"""Emitting as a part of the trace that is around."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.context import attach, detach
from opentelemetry.trace import NonRecordingSpan

from penguiflow.telemetry.ids import current_traceparent, span_context
from penguiflow.telemetry.tracer import around, joining


@contextmanager
def joined() -> Iterator[None]:
    """What is emitted within the block belongs to the trace of the current span, if any."""
    token = attach(joining())
    try:
        yield
    finally:
        detach(token)


@contextmanager
def continuing(traceparent: str | None) -> Iterator[None]:
    """What is done within the block goes on from a W3C trace context, if there is one; its own
    span stays current where this process has it."""
    context = span_context(traceparent)
    if context is None or traceparent == current_traceparent():
        yield
        return
    token = attach(around(NonRecordingSpan(context)))
    try:
        yield
    finally:
        detach(token)


__all__ = ["continuing", "joined"]
