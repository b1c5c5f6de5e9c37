"""Emitting as a part of the trace that is around."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.context import attach, detach

from penguiflow.telemetry.tracer import joining


@contextmanager
def joined() -> Iterator[None]:
    """What is emitted within the block belongs to the trace of the current span, if any."""
    token = attach(joining())
    try:
        yield
    finally:
        detach(token)


__all__ = ["joined"]
