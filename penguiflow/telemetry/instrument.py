"""What a flow tells whoever observes it. Traces and metrics are two implementations of it.

Where nothing is observed the instrument is None, and a call site costs one `is None`. A call site
asks once, when its place is built, for the part that it tells; a part that has nothing to do is
None as well. What a part returns as `span` is its own: the flow keeps it and hands it back.

No part may raise, block or wait, and none sees a payload unless its user asked for that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from penguiflow.decide import Outcome
    from penguiflow.durable.dead_letters import DeadLetter
    from penguiflow.durable.delivery import DurableDelivery
    from penguiflow.durable.envelope import Envelope
    from penguiflow.durable.log import LogDelivery
    from penguiflow.invocation import Delivery
    from penguiflow.remote_models import RemoteCallRequest

Span = Any
"""What an instrument made of a run, an emit or a call; None when it made nothing."""
Append = Callable[..., Awaitable[int]]
"""`Log.append`, or something that wraps it."""
Bury = Callable[["DeadLetter"], Awaitable[None]]
"""`DeadLetters.bury`, or something that wraps it."""
Settle = Callable[[], Awaitable[None]]
"""Tells the log what became of an entry."""
Announce = Callable[[str | None, Span], str | None]
"""Called when a trace is really to be cancelled, with the W3C trace context of its submission or
the span of one of its runs, as far as they are known; gives the trace context of the cancel."""
Cancel = Callable[[Announce], Awaitable[bool]]
"""Cancels a trace and announces it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowPlace:
    """A flow in this process, and what it does here."""

    flow: str
    """Its name; that of a durable flow is the token its subjects have."""
    instance: str = ""
    """The worker or the client."""
    tenant: str | None = None
    system: str | None = None
    """What carries its messages, such as "nats"; None for a flow that runs in this process."""
    now: Callable[[], float] | None = None
    """The log's time, seconds since the epoch."""
    server: Callable[[], tuple[str, int] | None] | None = None
    """Host and port of the server that is used now: the same object as long as it is the same
    connection, and None while there is none."""


class Instrument(Protocol):
    """Observes flows, remote calls, agents and services."""

    def flow(self, place: FlowPlace) -> FlowInstrument | None:
        """What a worker, a client or a local flow tells."""

    def calls(self) -> CallInstrument | None:
        """What a remote node or a transport tells."""

    def agent(self, name: str, *, tenant: str, instance: str) -> AgentInstrument | None:
        """What a replica of an agent tells."""

    def service(self, name: str, *, system: str) -> ServiceInstrument | None:
        """What a service tells that answers the operations of a protocol, the `system`."""


class FlowInstrument(Protocol):
    """Observes one flow in this process."""

    def node(self, name: str) -> NodeInstrument:
        """What the runs of a node tell."""

    def emitted(self, trace_id: str | None) -> Span:
        """A message is put into a local flow; the span is the origin of its items."""

    def emitting(
        self, envelope: Envelope, append: Append, *, redrives: Sequence[str] = ()
    ) -> tuple[Append, Envelope]:
        """A client submits: what to append with, and what.

        Args:
            envelope: What is submitted.
            append: Writes it.
            redrives: The W3C trace contexts of inputs that became dead letters and are submitted
                again by this.
        """

    def sending(self, span: Span, envelope: Envelope, append: Append) -> tuple[Append, Envelope]:
        """A worker writes a record, or one output of one: what to append with, and what.

        Args:
            span: Of the run; None for an output, whose envelope names what it follows from.
            envelope: What is to be written.
            append: Writes it.
        """

    def burying(self, span: Span, traceparent: str | None, bury: Bury) -> Bury:
        """An input becomes a dead letter: what to bury it with."""

    def cancelling(self, trace_id: str, cancel: Cancel) -> Awaitable[bool]:
        """Somebody cancels a trace."""

    def cancelled_by(self, spans: Iterable[Span], traceparent: str | None) -> None:
        """These runs are about to be cancelled; by which cancel, if it is known."""

    def joined(self, span: Span, others: Sequence[Span]) -> None:
        """The run completes a group of a local join; the others brought its earlier messages."""

    def backlog(self, node: str, pending: int, in_hand: int) -> None:
        """Inputs of a hosted node that are not settled: in nobody's hands, in some worker's."""

    def stored(self, seconds: float, error: BaseException | None) -> None:
        """The state store took an event, or failed to."""


class NodeInstrument(Protocol):
    """Observes the runs of one node: `begin`, then `within` if it is attempted, then `end`."""

    def begin(self, delivery: Delivery, origin: Span) -> Span:
        """A run starts; `origin` is the span behind a local item, None for a durable delivery."""

    def within(self, span: Span, work: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """The node's own code, to be awaited instead of `work`."""

    def event(
        self,
        span: Span,
        event_type: str,
        exc: BaseException | None,
        extra: Mapping[str, Any] | None,
    ) -> Mapping[str, Any] | None:
        """A FlowEvent of the run; returns its `extra`, with what correlates it."""

    def end(self, span: Span, outcome: Outcome | None) -> None:
        """The run is over; `outcome` is how it was settled, None when it could not be."""

    def settling(self, span: Span, operation: str, settle: Settle) -> Settle:
        """The log is told `nak` or `term`: what to tell it with."""

    def refused(self, entry: LogDelivery) -> Span:
        """An entry that cannot be read becomes a dead letter; `end` follows."""

    def known(self, delivery: DurableDelivery) -> None:
        """An input was delivered again and has its record already."""


class CallInstrument(Protocol):
    """Observes calls to remote agents."""

    def begin(self, request: RemoteCallRequest, *, streaming: bool) -> Span:
        """A call starts, or is followed by somebody else, and then carries the trace context of
        the one that made it. What it is to carry is written into the request."""

    def chunk(self, span: Span, size: int) -> None:
        """A piece of `size` characters arrived."""

    def resumed(self, span: Span, attempt: int) -> None:
        """Another replica took over, or the caller follows again."""

    def cancelled(self, span: Span, reason: str) -> None:
        """The remote task was told to end; `end` follows."""

    def end(self, span: Span, error: BaseException | None) -> None:
        """The call is over."""


class AgentInstrument(Protocol):
    """Observes the calls that one replica of an agent answers."""

    def begin(
        self,
        *,
        skill: str,
        task: str,
        trace_id: str,
        traceparent: str | None,
        tracestate: str | None,
        attempt: int,
        streaming: bool,
    ) -> Span:
        """A call is worked on; `attempt` counts from 1."""

    def context(self, span: Span) -> Context | None:
        """What the handler is to run in; None for the context that there is."""

    def end(self, span: Span, state: str, error: str | None) -> None:
        """The work is over.

        Args:
            span: Of `begin`.
            state: The task's state, or "left" when another replica goes on.
            error: Its code, when it ended without a result.
        """


class ServiceInstrument(Protocol):
    """Observes the operations that one service answers."""

    def begin(
        self,
        operation: str,
        *,
        binding: str,
        streaming: bool,
        traceparent: str | None,
        tracestate: str | None,
    ) -> Span:
        """An operation begins; the trace context is the caller's."""

    def traceparent(self, span: Span) -> str | None:
        """The W3C trace context that goes on from here; None leaves the caller's."""

    def end(self, span: Span, error: BaseException | None, *, refused: bool) -> None:
        """The operation is over.

        Args:
            span: Of `begin`.
            error: What it ended with.
            refused: Whether that says that the caller was wrong.
        """


__all__ = [
    "AgentInstrument",
    "Announce",
    "Append",
    "Bury",
    "CallInstrument",
    "Cancel",
    "FlowInstrument",
    "FlowPlace",
    "Instrument",
    "NodeInstrument",
    "ServiceInstrument",
    "Settle",
    "Span",
]
