"""What a replica tells an instrument of one call."""

from __future__ import annotations

from contextvars import Context

import msgspec

from penguiflow.telemetry.ids import current_traceparent
from penguiflow.telemetry.instrument import AgentInstrument, Span
from penguiflow_nats.call_wire import CallRequest, TaskRecord

LEFT = "left"
"""The state of a call that another replica goes on with."""


def begin(probe: AgentInstrument, request: CallRequest, *, attempt: int) -> Span:
    """A call is worked on; `attempt` counts from 1."""
    return probe.begin(
        skill=request.skill,
        task=request.task,
        trace_id=request.message.trace_id,
        traceparent=request.traceparent,
        tracestate=request.tracestate,
        attempt=attempt,
        streaming=request.streaming,
    )


def inside(request: CallRequest, context: Context | None) -> CallRequest:
    """The request as its handler sees it in this context: it goes on from the own span."""
    own = None if context is None else context.run(current_traceparent)
    return request if own is None else msgspec.structs.replace(request, traceparent=own)


def end(probe: AgentInstrument, span: Span, record: TaskRecord | None) -> None:
    """The work is over; without a record the task has no end here."""
    if record is None:
        probe.end(span, LEFT, None)
    else:
        probe.end(span, record.state, record.error[0] if record.error is not None else None)


__all__ = ["LEFT", "begin", "end", "inside"]
