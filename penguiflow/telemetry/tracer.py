"""Starts spans whose trace id is the flow's.

A root span takes its trace id from the id generator of its tracer. Ours is wrapped, so that a
flow's trace begins with the flow's id: a true root, for which a ratio sampler sees the right id.
Other tracers of the same provider are not touched. A tracer that is not the SDK's has no such
generator; its roots are given a parent that does not exist, which has the right trace id.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Protocol, cast

from opentelemetry import trace
from opentelemetry.context import Context, get_value, set_value
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracerProvider,
    ProxyTracerProvider,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    TracerProvider,
    set_span_in_context,
)

from penguiflow.telemetry.conventions import SCHEMA_URL
from penguiflow.telemetry.ids import trace_number

SCOPE = "penguiflow"

_EMPTY = Context()
_seed: ContextVar[int | None] = ContextVar("penguiflow_trace_id", default=None)
_JOIN = "penguiflow-join-ambient"


class _Ids(Protocol):
    def generate_span_id(self) -> int: ...

    def generate_trace_id(self) -> int: ...

    def is_trace_id_random(self) -> bool: ...


class SeededIds:
    """An id generator that gives a root the id it was asked for, and else what the own one does."""

    def __init__(self, own: _Ids) -> None:
        self._own = own
        self.generate_span_id: Callable[[], int] = own.generate_span_id

    def generate_trace_id(self) -> int:
        seed = _seed.get()
        return self._own.generate_trace_id() if seed is None else seed

    def is_trace_id_random(self) -> bool:
        """Nobody knows how random the id of a flow is."""
        return _seed.get() is None and self._own.is_trace_id_random()


def found_provider(given: TracerProvider | None) -> TracerProvider | None:
    """The provider to use: the given one, else the global one; None when none was set."""
    provider = given if given is not None else trace.get_tracer_provider()
    if isinstance(provider, ProxyTracerProvider | NoOpTracerProvider):
        return None
    return provider


class Starts(Protocol):
    """Starts our spans."""

    trusts_parent: bool
    """Whether a message that was not sampled is taken at its word: no span is made for it."""

    def start(
        self,
        name: str,
        kind: SpanKind,
        attributes: dict[str, Any],
        *,
        parent: SpanContext | None,
        trace_id: str | None,
        links: Sequence[Link] = (),
    ) -> Span:
        """A span under `parent`, or else the root of a flow's trace; nothing ambient is used."""


class Tracer:
    """The tracer of this library at one provider."""

    def __init__(self, provider: TracerProvider, *, trust_parent: bool | None = None) -> None:
        self._tracer = provider.get_tracer(SCOPE, schema_url=SCHEMA_URL)
        self._seeds = _seeded(self._tracer)
        self.trusts_parent: bool = _follows(self._tracer) if trust_parent is None else trust_parent

    def start(
        self,
        name: str,
        kind: SpanKind,
        attributes: dict[str, Any],
        *,
        parent: SpanContext | None,
        trace_id: str | None,
        links: Sequence[Link] = (),
    ) -> Span:
        start = self._tracer.start_span
        if parent is not None:
            above = set_span_in_context(NonRecordingSpan(parent), _EMPTY)
            return start(name, above, kind, attributes, links)
        if trace_id is None:
            return start(name, _EMPTY, kind, attributes, links)
        number = trace_number(trace_id)
        if not self._seeds:
            above = set_span_in_context(NonRecordingSpan(_made_up(number)), _EMPTY)
            return start(name, above, kind, attributes, links)
        token = _seed.set(number)
        try:
            return start(name, _EMPTY, kind, attributes, links)
        finally:
            _seed.reset(token)


def _made_up(number: int) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(number, secrets.randbits(64) or 1, True, flags)


def _seeded(tracer: trace.Tracer) -> bool:
    """Have the tracer ask us for trace ids. It is an attribute of the SDK's class, and no part of
    its promised interface: where it is missing this is False."""
    sdk = sys.modules.get("opentelemetry.sdk.trace")
    if sdk is None or not isinstance(tracer, sdk.Tracer):
        return False
    own = getattr(tracer, "id_generator", None)
    if own is None:
        return False
    if not isinstance(own, SeededIds):
        cast("Any", tracer).id_generator = SeededIds(own)
    return True


def _follows(tracer: trace.Tracer) -> bool:
    """Whether the tracer's sampler does what the parent's did; taken for granted elsewhere."""
    sampling = sys.modules.get("opentelemetry.sdk.trace.sampling")
    sampler = getattr(tracer, "sampler", None)
    if sampling is None or sampler is None:
        return True
    return isinstance(sampler, sampling.ParentBased) or sampler is sampling.ALWAYS_OFF


def ambient() -> tuple[SpanContext | None, bool]:
    """The span context around the caller, if there is one; and whether it is to be joined."""
    current = trace.get_current_span().get_span_context()
    return (current, bool(get_value(_JOIN))) if current.is_valid else (None, False)


def joining() -> Context:
    """The current context, in which an emit belongs to the trace around it."""
    return set_value(_JOIN, True)


def around(span: Span) -> Context:
    """A context in which the span is current and nothing else is."""
    return set_span_in_context(span, _EMPTY)


__all__ = ["SeededIds", "Starts", "Tracer", "ambient", "around", "found_provider", "joining"]
