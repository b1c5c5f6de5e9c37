"""The spans of a node's runs: `process` spans of a durable flow, plain ones of a local flow."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.trace import Link, SpanContext, SpanKind

from penguiflow.telemetry import conventions as c
from penguiflow.telemetry.attempt import (
    Attempt,
    Part,
    correlated,
    forwarded,
    links_to,
    told,
    within,
)
from penguiflow.telemetry.ids import span_context
from penguiflow.telemetry.instrument import FlowPlace, Settle
from penguiflow.telemetry.outcomes import error_type, of_settlement
from penguiflow.telemetry.servers import ServerAttributes

if TYPE_CHECKING:
    from penguiflow.decide import Outcome
    from penguiflow.durable.delivery import DurableDelivery
    from penguiflow.durable.log import LogDelivery
    from penguiflow.invocation import Delivery

MOST_LINKS = 128
"""The SDK keeps no more."""


class NodeSpans:
    """What the runs of every node have in common."""

    def __init__(self, part: Part, place: FlowPlace, node: str) -> None:
        self._part = part
        self._node = node
        self._base: dict[str, Any] = {c.FLOW: place.flow, c.NODE: node}
        if place.tenant is not None:
            self._base[c.TENANT] = place.tenant

    def within(self, span: Any, work: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        attempt = cast("Attempt", span)
        if attempt.recording and self._part.redaction.shows_values:
            work = self._shown(attempt, work)
        return within(attempt.span, work)

    async def _shown(self, attempt: Attempt, work: Coroutine[Any, Any, Any]) -> Any:
        result = await work
        text = self._part.redaction.text("output", result)
        if text is not None:
            attempt.span.set_attribute(c.OUTPUT, text)
        return result

    def _show_input(self, attempt: Attempt, value: Any) -> None:
        if attempt.recording and self._part.redaction.shows_values:
            text = self._part.redaction.text("input", value)
            if text is not None:
                attempt.span.set_attribute(c.INPUT, text)

    def event(
        self,
        span: Any,
        event_type: str,
        exc: BaseException | None,
        extra: Mapping[str, Any] | None,
    ) -> Mapping[str, Any]:
        attempt = cast("Attempt", span)
        if attempt.recording:
            told(attempt, event_type, exc, extra, self._part.redaction)
        return correlated(attempt, extra)

    def end(self, span: Any, outcome: Outcome | None) -> None:
        attempt = cast("Attempt", span)
        if attempt.recording:
            attempt.end(of_settlement(outcome))

    # Only a durable delivery is settled with a log

    def settling(self, span: Any, operation: str, settle: Settle) -> Settle:
        return settle

    def refused(self, entry: LogDelivery) -> Any:
        return None

    def known(self, delivery: DurableDelivery) -> None:
        """Nothing is delivered again."""


class LocalNodeSpans(NodeSpans):
    """Runs in this process: INTERNAL spans, under the run or the emit that sent the item."""

    def begin(self, delivery: Delivery, origin: Any) -> Any:
        above = cast("Attempt | None", origin)
        attributes = {**self._base, c.ATTEMPT: delivery.attempt}
        attempt = self._part.start(
            self._node,
            SpanKind.INTERNAL,
            attributes,
            parent=None if above is None else above.context,
            trace_id=delivery.trace_id,
        )
        self._show_input(attempt, delivery.value)
        return attempt


class DurableNodeSpans(NodeSpans):
    """Deliveries: CONSUMER spans, siblings under what was published."""

    def __init__(self, part: Part, place: FlowPlace, node: str) -> None:
        super().__init__(part, place, node)
        template = f"pf.{place.flow}.{node}"
        self._name = f"process {template}"
        self._settled = {"nak": f"nak {template}", "term": f"term {template}"}
        self._base |= {
            c.SYSTEM: place.system or "",
            c.TEMPLATE: template,
        }
        self._process = {**self._base, c.OPERATION: "process", c.OPERATION_TYPE: "process"}
        self._server = ServerAttributes(place)

    def begin(self, delivery: Delivery, origin: Any) -> Any:
        own = cast("DurableDelivery", delivery)
        envelope, entry = own.envelope, own.log_delivery
        parent = span_context(envelope.traceparent, envelope.tracestate)
        if self._part.skips(parent):
            assert parent is not None  # noqa: S101 - only a parent is skipped
            return forwarded(parent, envelope.trace)
        attributes = {
            **self._process,
            **self._server.now(),
            c.MESSAGE_ID: own.input_id,
            c.ATTEMPT: own.attempt,
            c.DELIVERIES: entry.num_delivered,
            c.SEQUENCE: entry.stored.sequence,
        }
        links: list[Link] = []
        if own.joined:
            attributes[c.BATCH] = len(own.joined)
            links = _others(own, parent)
        attempt = self._part.start(
            self._name,
            SpanKind.CONSUMER,
            attributes,
            parent=parent,
            trace_id=envelope.trace,
            links=links,
        )
        self._show_input(attempt, own.value)
        return attempt

    def settling(self, span: Any, operation: str, settle: Settle) -> Settle:
        attempt = cast("Attempt | None", span)
        if attempt is None or not attempt.recording:
            return settle
        started = self._part.start(
            self._settled[operation],
            SpanKind.CLIENT,
            {
                **self._base,
                **self._server.now(),
                c.OPERATION: operation,
                c.OPERATION_TYPE: "settle",
            },
            parent=attempt.context,
            trace_id=attempt.trace_id,
        )

        async def observed() -> None:
            try:
                await settle()
            except BaseException as error:
                started.fail(error_type(error))
                raise
            finally:
                started.span.end()

        return observed

    def refused(self, entry: LogDelivery) -> Any:
        attributes = {
            **self._process,
            **self._server.now(),
            c.DELIVERIES: entry.num_delivered,
            c.SEQUENCE: entry.stored.sequence,
        }
        trace = entry.stored.key.trace
        return self._part.start(
            self._name, SpanKind.CONSUMER, attributes, parent=None, trace_id=trace
        )

    def known(self, delivery: DurableDelivery) -> None:
        attempt = cast("Attempt", self.begin(delivery, None))
        if attempt.recording:
            attempt.end(c.DUPLICATE)


def _others(delivery: DurableDelivery, parent: SpanContext | None) -> list[Link]:
    """Links to the other messages of a join; the parent is the one that completed it."""
    found = []
    for stored, envelope in delivery.joined[:MOST_LINKS]:
        context = span_context(envelope.traceparent, envelope.tracestate)
        if parent is None or context is None or context.span_id != parent.span_id:
            found.append((context, {c.MESSAGE_ID: stored.key.input, c.SEQUENCE: stored.sequence}))
    return links_to(found)


__all__ = ["MOST_LINKS", "DurableNodeSpans", "LocalNodeSpans"]
