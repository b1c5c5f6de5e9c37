"""Several instruments as one, such as traces and metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from penguiflow.telemetry.instrument import (
    AgentInstrument,
    Announce,
    Append,
    Bury,
    CallInstrument,
    Cancel,
    FlowInstrument,
    FlowPlace,
    Instrument,
    NodeInstrument,
    ServiceInstrument,
    Settle,
    Span,
)

if TYPE_CHECKING:
    from penguiflow.decide import Outcome
    from penguiflow.durable.delivery import DurableDelivery
    from penguiflow.durable.envelope import Envelope
    from penguiflow.durable.log import LogDelivery
    from penguiflow.invocation import Delivery
    from penguiflow.remote_models import RemoteCallRequest

P = TypeVar("P")


class Instruments:
    """Tells each of its parts, in their order; a span is the tuple of theirs."""

    def __init__(self, parts: Sequence[Instrument]) -> None:
        self.parts: tuple[Instrument, ...] = tuple(parts)

    def flow(self, place: FlowPlace) -> FlowInstrument | None:
        return _one([part.flow(place) for part in self.parts], _Flow)

    def calls(self) -> CallInstrument | None:
        return _one([part.calls() for part in self.parts], _Calls)

    def agent(self, name: str, *, tenant: str, instance: str) -> AgentInstrument | None:
        found = [part.agent(name, tenant=tenant, instance=instance) for part in self.parts]
        return _one(found, _Agent)

    def service(self, name: str, *, system: str) -> ServiceInstrument | None:
        return _one([part.service(name, system=system) for part in self.parts], _Service)


def _one(found: Sequence[P | None], together: Callable[[list[P]], P]) -> P | None:
    """Nothing, the only part, or the parts together."""
    parts = [part for part in found if part is not None]
    if len(parts) < 2:
        return parts[0] if parts else None
    return together(parts)


class _Parts(Generic[P]):
    def __init__(self, parts: list[P]) -> None:
        self._parts = parts

    def _with(self, span: Span) -> Iterable[tuple[P, Span]]:
        spans = span if span is not None else (None,) * len(self._parts)
        return zip(self._parts, spans, strict=True)


class _Flow(_Parts[FlowInstrument]):
    def node(self, name: str) -> NodeInstrument:
        return _Node([part.node(name) for part in self._parts])

    def emitted(self, trace_id: str | None) -> Span:
        return tuple([part.emitted(trace_id) for part in self._parts])

    def emitting(
        self, envelope: Envelope, append: Append, *, redrives: Sequence[str] = ()
    ) -> tuple[Append, Envelope]:
        for part in self._parts:
            append, envelope = part.emitting(envelope, append, redrives=redrives)
        return append, envelope

    def sending(self, span: Span, envelope: Envelope, append: Append) -> tuple[Append, Envelope]:
        for part, own in self._with(span):
            append, envelope = part.sending(own, envelope, append)
        return append, envelope

    def burying(self, span: Span, traceparent: str | None, bury: Bury) -> Bury:
        for part, own in self._with(span):
            bury = part.burying(own, traceparent, bury)
        return bury

    def cancelling(self, trace_id: str, cancel: Cancel) -> Awaitable[bool]:
        for index in range(len(self._parts)):
            cancel = self._announced(index, trace_id, cancel)
        return cancel(_nothing)

    def _announced(self, index: int, trace_id: str, cancel: Cancel) -> Cancel:
        """A cancel that one more part is told of."""
        part = self._parts[index]

        def outer(above: Announce) -> Awaitable[bool]:
            def inner(own: Announce) -> Awaitable[bool]:
                def both(traceparent: str | None, span: Span) -> str | None:
                    mine = None if span is None else span[index]
                    first, second = above(traceparent, span), own(traceparent, mine)
                    return second or first

                return cancel(both)

            return part.cancelling(trace_id, inner)

        return outer

    def cancelled_by(self, spans: Iterable[Span], traceparent: str | None) -> None:
        own = list(zip(*(s for s in spans if s is not None), strict=True))
        for part, each in zip(self._parts, own, strict=False):
            part.cancelled_by(each, traceparent)

    def joined(self, span: Span, others: Sequence[Span]) -> None:
        for index, part in enumerate(self._parts):
            part.joined(span[index], [each[index] for each in others])

    def backlog(self, node: str, pending: int, in_hand: int) -> None:
        for part in self._parts:
            part.backlog(node, pending, in_hand)

    def stored(self, seconds: float, error: BaseException | None) -> None:
        for part in self._parts:
            part.stored(seconds, error)


def _nothing(traceparent: str | None, span: Span) -> None:
    """Nobody is above."""


class _Node(_Parts[NodeInstrument]):
    def begin(self, delivery: Delivery, origin: Span) -> Span:
        return tuple([part.begin(delivery, own) for part, own in self._with(origin)])

    def within(self, span: Span, work: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        for part, own in self._with(span):
            work = part.within(own, work)
        return work

    def event(
        self,
        span: Span,
        event_type: str,
        exc: BaseException | None,
        extra: Mapping[str, Any] | None,
    ) -> Mapping[str, Any] | None:
        for part, own in self._with(span):
            extra = part.event(own, event_type, exc, extra)
        return extra

    def end(self, span: Span, outcome: Outcome | None) -> None:
        for part, own in self._with(span):
            part.end(own, outcome)

    def settling(self, span: Span, operation: str, settle: Settle) -> Settle:
        for part, own in self._with(span):
            settle = part.settling(own, operation, settle)
        return settle

    def refused(self, entry: LogDelivery) -> Span:
        return tuple([part.refused(entry) for part in self._parts])

    def known(self, delivery: DurableDelivery) -> None:
        for part in self._parts:
            part.known(delivery)


class _Calls(_Parts[CallInstrument]):
    def begin(self, request: RemoteCallRequest, *, streaming: bool) -> Span:
        return tuple([part.begin(request, streaming=streaming) for part in self._parts])

    def chunk(self, span: Span, size: int) -> None:
        for part, own in self._with(span):
            part.chunk(own, size)

    def resumed(self, span: Span, attempt: int) -> None:
        for part, own in self._with(span):
            part.resumed(own, attempt)

    def cancelled(self, span: Span, reason: str) -> None:
        for part, own in self._with(span):
            part.cancelled(own, reason)

    def end(self, span: Span, error: BaseException | None) -> None:
        for part, own in self._with(span):
            part.end(own, error)


class _Agent(_Parts[AgentInstrument]):
    def begin(self, **call: Any) -> Span:
        return tuple([part.begin(**call) for part in self._parts])

    def context(self, span: Span) -> Context | None:
        found = [part.context(own) for part, own in self._with(span)]
        return next((context for context in found if context is not None), None)

    def end(self, span: Span, state: str, error: str | None) -> None:
        for part, own in self._with(span):
            part.end(own, state, error)


class _Service(_Parts[ServiceInstrument]):
    def begin(self, operation: str, **call: Any) -> Span:
        return tuple([part.begin(operation, **call) for part in self._parts])

    def traceparent(self, span: Span) -> str | None:
        found = [part.traceparent(own) for part, own in self._with(span)]
        return next((each for each in found if each is not None), None)

    def end(self, span: Span, error: BaseException | None, *, refused: bool) -> None:
        for part, own in self._with(span):
            part.end(own, error, refused=refused)


__all__ = ["Instruments"]
