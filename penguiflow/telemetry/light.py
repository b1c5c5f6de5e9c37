"""A tracer that makes light spans, for the provider that `setup` makes.

A span of the SDK costs a multiple of a hop: it checks and copies every attribute, and the sampler
once more. What we put on our own spans is known to be right, so this span keeps what it is given.
To processors and exporters it is a span of the SDK, and to a node's own code one of the API.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from penguiflow.telemetry.conventions import SCHEMA_URL
from penguiflow.telemetry.ids import trace_number
from penguiflow.telemetry.tracer import SCOPE

_logger = logging.getLogger("penguiflow.telemetry")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NOT_SAMPLED = TraceFlags(TraceFlags.DEFAULT)
_EMPTY = Context()
_UNSET = Status(StatusCode.UNSET)
_SCALARS = (str, bool, int, float, bytes)


def _is_value(value: Any) -> bool:
    """Whether the API allows it as the value of an attribute."""
    if isinstance(value, _SCALARS):
        return True
    return isinstance(value, list | tuple) and all(isinstance(each, _SCALARS) for each in value)


class LightSpan(ReadableSpan, trace.Span):
    """A span under way, and what is exported of it."""

    def __init__(  # noqa: PLR0917 - one call site, on the hot path
        self,
        tracer: LightTracer,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: dict[str, Any],
        links: Sequence[Link],
    ) -> None:
        # The parent's __init__ does the same with defaults that have to be made first.
        self._tracer = tracer
        self._name = name
        self._context = context
        self._parent = parent
        self._kind = kind
        self._attributes: dict[str, Any] = attributes
        self._links: Sequence[Link] = links
        self._events: Sequence[Event] = ()
        self._status = _UNSET
        self._resource = tracer.resource
        self._instrumentation_info = None
        self._instrumentation_scope = tracer.scope
        self._end_time: int | None = None
        self._start_time: int = time.time_ns()  # the time base of every span there is

    def is_recording(self) -> bool:
        return self._end_time is None

    def get_span_context(self) -> SpanContext:
        return cast("SpanContext", self._context)

    def set_attribute(self, key: str, value: Any) -> None:
        if self._end_time is not None:
            return
        if not _is_value(value):
            _logger.warning("attribute %r of type %s is left out", key, type(value).__name__)
            return
        if key in self._attributes or len(self._attributes) < self._tracer.most_attributes:
            self._attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def add_event(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
    ) -> None:
        if self._end_time is None and len(self._events) < self._tracer.most_events:
            good = {k: v for k, v in (attributes or {}).items() if _is_value(v)}
            self._events = [*self._events, Event(name, good, timestamp)]

    def add_link(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        if self._end_time is None and len(self._links) < self._tracer.most_links:
            self._links = [*self._links, Link(context, dict(attributes or {}))]

    def update_name(self, name: str) -> None:
        if self._end_time is None:
            self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        if self._end_time is None and self._status.status_code is not StatusCode.OK:
            self._status = status if isinstance(status, Status) else Status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Called by a node's own code: unlike ours, it says what the exception says."""
        own = {"exception.type": type(exception).__qualname__, "exception.message": str(exception)}
        self.add_event("exception", {**own, **(attributes or {})}, timestamp)

    def end(self, end_time: int | None = None) -> None:
        if self._end_time is None:
            self._end_time = time.time_ns() if end_time is None else end_time
            self._tracer.processor.on_end(self)


class LightTracer:
    """Starts light spans; as `tracer.Tracer` otherwise.

    Args:
        resource: What the spans are of.
        sampler: Decides which are kept.
        processor: Takes those that ended.
        trust_parent: As of `Tracer`.
    """

    def __init__(
        self,
        *,
        resource: Resource,
        sampler: Sampler,
        processor: SpanProcessor,
        trust_parent: bool | None = None,
    ) -> None:
        self.resource = resource
        self.processor = processor
        self.scope: InstrumentationScope = InstrumentationScope(SCOPE, schema_url=SCHEMA_URL)
        limits = SpanLimits()
        self.most_attributes: int = limits.max_span_attributes or 128
        self.most_events: int = limits.max_events or 128
        self.most_links: int = limits.max_links or 128
        batches = isinstance(processor, BatchSpanProcessor)  # it takes no notice of a start
        self._on_start: Any = None if batches else processor.on_start
        self._sampler = sampler
        self._keeps_roots, self._keeps_children = _habits(sampler)
        follows = isinstance(sampler, ParentBased) or sampler is ALWAYS_OFF
        self.trusts_parent: bool = follows if trust_parent is None else trust_parent
        self._ids = RandomIdGenerator()

    def start(
        self,
        name: str,
        kind: SpanKind,
        attributes: dict[str, Any],
        *,
        parent: SpanContext | None,
        trace_id: str | None,
        links: Sequence[Link] = (),
    ) -> trace.Span:
        flags, state = _SAMPLED, None
        if parent is not None:
            number, state = parent.trace_id, parent.trace_state
        else:
            number = self._ids.generate_trace_id() if trace_id is None else trace_number(trace_id)
        if parent is None:
            keeps = self._keeps_roots
        else:
            keeps = self._keeps_children and parent.trace_flags.sampled
        if not keeps:
            above = _EMPTY
            if parent is not None:
                above = set_span_in_context(NonRecordingSpan(parent), _EMPTY)
            said = self._sampler.should_sample(above, number, name, kind, attributes, links)
            state = said.trace_state
            attributes = dict(said.attributes or {})
            if not said.decision.is_sampled():  # type: ignore[no-untyped-call]
                flags = _NOT_SAMPLED
        context = SpanContext(number, self._ids.generate_span_id(), False, flags, state)
        if flags is _NOT_SAMPLED:
            return NonRecordingSpan(context)
        span = LightSpan(self, name, context, parent, kind, attributes, links)
        if self._on_start is not None:
            self._on_start(span)
        return span


_CHILDREN = str(cast("Any", ParentBased(ALWAYS_ON)).get_description()).partition(",")[2]
"""How a `ParentBased` describes itself behind its root, when it does to children what was done to
their parents. What it delegates to is not to be had otherwise."""


def _habits(sampler: Sampler) -> tuple[bool, bool]:
    """Whether it keeps every root, and every child of what was kept: then it is not asked."""
    if sampler is ALWAYS_ON:
        return True, True
    said = str(sampler.get_description())
    follows = isinstance(sampler, ParentBased) and said.endswith(_CHILDREN)
    return follows and said.startswith("ParentBased{root:AlwaysOnSampler,"), follows


__all__ = ["LightSpan", "LightTracer"]
