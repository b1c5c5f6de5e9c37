"""The span of a call to a remote agent: one for the whole call, however it is carried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from opentelemetry.trace import Link, SpanKind

from penguiflow.telemetry import conventions as c
from penguiflow.telemetry.addresses import address, server
from penguiflow.telemetry.attempt import Attempt, Part
from penguiflow.telemetry.ids import span_context
from penguiflow.telemetry.outcomes import of_call
from penguiflow.telemetry.tracer import ambient

if TYPE_CHECKING:
    from penguiflow.remote_models import RemoteCallRequest


class _Call(Attempt):
    """A call under way."""

    __slots__ = ("characters", "chunks")

    chunks: int
    characters: int


class CallSpans:
    """CLIENT spans; none is current while an answer is read, since its reader may be anybody."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def begin(self, request: RemoteCallRequest, *, streaming: bool) -> Any:
        system, agent = address(request.agent_url)
        method = f"{agent}/{request.skill}"
        attributes: dict[str, Any] = {
            c.RPC_SYSTEM: system,
            c.RPC_METHOD: method,
            c.GEN_AI_OPERATION: c.INVOKE_AGENT,
            c.GEN_AI_AGENT: agent,
            c.SKILL: request.skill,
            c.STREAMING: streaming,
        }
        there = server(request.agent_url)
        if there is not None:
            attributes[c.SERVER_ADDRESS] = there[0]
            if there[1] is not None:
                attributes[c.SERVER_PORT] = there[1]
        parent, _ = ambient()
        trace_id = request.trace_id or request.message.trace_id or None
        carried = span_context(request.traceparent, request.tracestate)
        links: list[Link] = []
        if parent is None:
            parent = carried
        elif carried is not None and carried.span_id != parent.span_id:
            links.append(Link(carried))
        started = self._part.start(
            method, SpanKind.CLIENT, attributes, parent=parent, trace_id=trace_id, links=links
        )
        call = _Call(started.span, trace_id)
        call.chunks = call.characters = 0
        request.traceparent, request.tracestate = call.traceparent, call.tracestate
        return call

    def chunk(self, span: Any, size: int) -> None:
        call = cast("_Call", span)
        if not call.chunks:
            call.span.add_event("first_chunk")
        call.chunks += 1
        call.characters += size

    def resumed(self, span: Any, attempt: int) -> None:
        cast("_Call", span).span.add_event("resume", {c.ATTEMPT: attempt})

    def cancelled(self, span: Any, reason: str) -> None:
        cast("_Call", span).span.add_event("cancel", {c.REASON: reason})

    def end(self, span: Any, error: BaseException | None) -> None:
        call = cast("_Call", span)
        if not call.recording:
            return
        if call.chunks:
            totals = {c.CHUNKS: call.chunks, c.CHUNK_CHARACTERS: call.characters}
            call.span.set_attributes(totals)
        outcome, kind = of_call(error)
        if kind is not None and error is not None:
            call.fail(kind)
            call.span.add_event(c.EXCEPTION, self._part.redaction.exception(error))
        call.end(outcome)


__all__ = ["CallSpans"]
