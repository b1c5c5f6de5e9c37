"""The spans of a flow beside its runs: what is emitted, published, buried and cancelled."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec
from opentelemetry.trace import Link, SpanContext, SpanKind

from penguiflow.durable.envelope import EGRESS, FAILED, OK
from penguiflow.durable.log import AlreadyCommitted, InputGone
from penguiflow.telemetry import conventions as c
from penguiflow.telemetry.attempt import Attempt, Part
from penguiflow.telemetry.ids import is_of, span_context
from penguiflow.telemetry.instrument import (
    Append,
    Bury,
    Cancel,
    FlowPlace,
    NodeInstrument,
)
from penguiflow.telemetry.node_spans import MOST_LINKS, DurableNodeSpans, LocalNodeSpans
from penguiflow.telemetry.outcomes import error_type
from penguiflow.telemetry.servers import ServerAttributes
from penguiflow.telemetry.tracer import ambient

if TYPE_CHECKING:
    from penguiflow.durable.dead_letters import DeadLetter
    from penguiflow.durable.envelope import Envelope


class FlowSpans:
    """The spans of one flow in this process."""

    def __init__(self, part: Part, place: FlowPlace, *, join_ambient: bool) -> None:
        self._part = part
        self._place = place
        self._joins = join_ambient
        self._base: dict[str, Any] = {c.FLOW: place.flow}
        if place.tenant is not None:
            self._base[c.TENANT] = place.tenant
        if place.system is not None:
            self._base[c.SYSTEM] = place.system
        self._server = ServerAttributes(place)
        self._published: dict[tuple[str, tuple[str, ...]], tuple[str, dict[str, Any]]] = {}

    def node(self, name: str) -> NodeInstrument:
        kind = LocalNodeSpans if self._place.system is None else DurableNodeSpans
        return kind(self._part, self._place, name)

    # In

    def _emit(
        self,
        kind: SpanKind,
        attributes: dict[str, Any],
        trace_id: str | None,
        links: Sequence[Link] = (),
    ) -> Attempt:
        """The root of a flow's trace; or a child of what is around, when the two are one trace."""
        current, join = ambient()
        join = join or self._joins
        name = f"emit {self._place.flow}"
        parent, links = None, list(links)
        if current is not None and (join or is_of(current, trace_id)):
            parent = current
        elif current is not None:
            links.append(Link(current))
        return self._part.start(
            name, kind, attributes, parent=parent, trace_id=trace_id, links=links
        )

    def emitted(self, trace_id: str | None) -> Any:
        attempt = self._emit(SpanKind.INTERNAL, dict(self._base), trace_id)
        attempt.span.end()
        return attempt

    def emitting(
        self, envelope: Envelope, append: Append, *, redrives: Sequence[str] = ()
    ) -> tuple[Append, Envelope]:
        attributes = self._send_attributes("emit", "ingress") | self._server.now()
        attributes[c.MESSAGE_ID] = envelope.input
        dead = [span_context(each) for each in redrives]
        links = [Link(each) for each in dead if each is not None and each.trace_flags.sampled]
        attempt = self._emit(SpanKind.PRODUCER, attributes, envelope.trace, links)
        return self._sent(attempt, append), _carrying(envelope, attempt)

    # Out

    def sending(self, span: Any, envelope: Envelope, append: Append) -> tuple[Append, Envelope]:
        run = cast("Attempt | None", span)
        if run is not None and not run.recording:
            known = envelope.traceparent is not None
            return append, envelope if known else _carrying(envelope, run)
        if not envelope.outputs and envelope.outcome != FAILED:
            return append, envelope  # nobody is sent anything
        if run is not None:
            parent: SpanContext | None = run.context
        else:
            parent = span_context(envelope.traceparent, envelope.tracestate)
        name, base = self._publishing(envelope)
        attributes = {**base, **self._server.now(), c.MESSAGE_ID: envelope.input}
        attempt = self._part.start(
            name, SpanKind.PRODUCER, attributes, parent=parent, trace_id=envelope.trace
        )
        if run is None and envelope.outcome not in (OK, ""):
            attempt.fail(str((envelope.error or {}).get("code", envelope.outcome)))
        return self._sent(attempt, append), _carrying(envelope, attempt)

    def _publishing(self, envelope: Envelope) -> tuple[str, dict[str, Any]]:
        """Name and attributes of what publishes an entry."""
        single = len(envelope.outputs) == 1
        targets = envelope.outputs[0].targets if single else ()
        found = self._published.get((envelope.node, targets))
        if found is None:
            to = "+".join("egress" if t == EGRESS else t for t in targets)
            base = self._send_attributes("publish", to or f"{envelope.node}.record")
            found = f"publish {base[c.TEMPLATE]}", {**base, c.NODE: envelope.node}
            self._published[envelope.node, targets] = found
        return found

    def _send_attributes(self, operation: str, to: str) -> dict[str, Any]:
        template = f"pf.{self._place.flow}.{to}"
        return {
            **self._base,
            c.OPERATION: operation,
            c.OPERATION_TYPE: "send",
            c.TEMPLATE: template,
        }

    def _sent(self, attempt: Attempt, append: Append) -> Append:
        """An append that ends its span."""
        if not attempt.recording:
            return append

        async def observed(*args: Any, **conditions: Any) -> int:
            try:
                sequence = await append(*args, **conditions)
            except AlreadyCommitted:
                attempt.end(c.DUPLICATE)
                raise
            except InputGone:
                attempt.end(c.GONE)
                raise
            except BaseException as error:
                attempt.fail(error_type(error))
                attempt.end(c.FAILED)
                raise
            attempt.span.set_attribute(c.SEQUENCE, sequence)
            attempt.span.end()
            return sequence

        return observed

    def burying(self, span: Any, traceparent: str | None, bury: Bury) -> Bury:
        run = cast("Attempt | None", span)
        parent = run.context if run is not None else span_context(traceparent)
        if parent is None or (run is not None and not run.recording):
            return bury
        if self._part.skips(parent):
            return bury
        attributes = self._send_attributes("publish", "dlq") | self._server.now()

        async def observed(letter: DeadLetter) -> None:
            attributes.update({c.NODE: letter.node, c.REASON: letter.reason.value})
            attempt = self._part.start(
                f"publish {attributes[c.TEMPLATE]}",
                SpanKind.PRODUCER,
                attributes,
                parent=parent,
                trace_id=None if run is None else run.trace_id,
            )
            try:
                await bury(letter)
            except BaseException as error:
                attempt.fail(error_type(error))
                raise
            finally:
                attempt.span.end()

        return observed

    # Cancel

    def cancelling(self, trace_id: str, cancel: Cancel) -> Awaitable[bool]:
        return self._cancelling(trace_id, cancel)

    async def _cancelling(self, trace_id: str, cancel: Cancel) -> bool:
        started: list[Attempt] = []

        def announce(traceparent: str | None, run: Any) -> str:
            above = cast("Attempt | None", run)
            parent = above.context if above is not None else span_context(traceparent)
            durable = self._place.system is not None
            kind = SpanKind.PRODUCER if durable else SpanKind.INTERNAL
            attributes = self._send_attributes("cancel", "cancel") if durable else dict(self._base)
            attributes |= self._server.now()
            name = f"cancel {self._place.flow}"
            attempt = self._part.start(name, kind, attributes, parent=parent, trace_id=trace_id)
            started.append(attempt)
            return attempt.traceparent

        try:
            cancelled = await cancel(announce)
        except BaseException as error:
            for attempt in started:
                attempt.fail(error_type(error))
                attempt.end(c.FAILED)
            raise
        for attempt in started:
            attempt.end(c.CANCELLED if cancelled else c.GONE)
        return cancelled

    def cancelled_by(self, spans: Iterable[Any], traceparent: str | None) -> None:
        context = span_context(traceparent)
        if context is None or not context.trace_flags.sampled:
            return
        for run in spans:
            if run is not None and run.recording:
                cast("Attempt", run).span.add_link(context)

    def joined(self, span: Any, others: Sequence[Any]) -> None:
        run = cast("Attempt", span)
        if not run.recording:
            return
        run.span.set_attribute(c.BATCH, len(others) + 1)
        for other in others[:MOST_LINKS]:
            if other.recording:
                run.span.add_link(other.context)

    # Only metrics have these

    def backlog(self, node: str, pending: int, in_hand: int) -> None:
        """No span."""

    def stored(self, seconds: float, error: BaseException | None) -> None:
        """No span: events are many, and their store has its own."""


def _carrying(envelope: Envelope, attempt: Attempt) -> Envelope:
    """The envelope with the context of this span."""
    return msgspec.structs.replace(
        envelope, traceparent=attempt.traceparent, tracestate=attempt.tracestate
    )


__all__ = ["FlowSpans"]
