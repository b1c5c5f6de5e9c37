"""The span of a call that an agent answers."""

from __future__ import annotations

from contextvars import Context, copy_context
from typing import Any, cast

from opentelemetry.context import attach
from opentelemetry.trace import SpanKind

from penguiflow.telemetry import conventions as c
from penguiflow.telemetry.attempt import Attempt, Part
from penguiflow.telemetry.ids import span_context
from penguiflow.telemetry.outcomes import TIMED_OUT
from penguiflow.telemetry.tracer import around

_LONGEST = 100
"""Characters of a skill in the name of a span: the caller says it."""

_OUTCOMES = {"completed": c.OK, "cancelled": c.CANCELLED, c.LEFT: c.LEFT}
"""What a task's state says; everything else is a failure."""


class AgentSpans:
    """SERVER spans: one for each replica that works on a call."""

    def __init__(self, part: Part, name: str, *, tenant: str, instance: str) -> None:
        self._part = part
        self._name = name
        self._base: dict[str, Any] = {
            c.RPC_SYSTEM: "nats",
            c.GEN_AI_OPERATION: c.INVOKE_AGENT,
            c.GEN_AI_AGENT: name,
            c.TENANT: tenant,
            c.CLIENT_ID: instance,
        }

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
    ) -> Any:
        method = f"{self._name}/{skill[:_LONGEST]}"
        attributes = {
            **self._base,
            c.RPC_METHOD: method,
            c.SKILL: skill[:_LONGEST],
            c.TASK: task,
            c.DELIVERIES: attempt,
            c.STREAMING: streaming,
        }
        parent = span_context(traceparent, tracestate)
        return self._part.start(
            method, SpanKind.SERVER, attributes, parent=parent, trace_id=trace_id or None
        )

    def context(self, span: Any) -> Context | None:
        context = copy_context()
        context.run(attach, around(cast("Attempt", span).span))
        return context

    def end(self, span: Any, state: str, error: str | None) -> None:
        served = cast("Attempt", span)
        if not served.recording:
            return
        outcome = _OUTCOMES.get(state, c.FAILED)
        if error == "DEADLINE_EXCEEDED":
            outcome = c.EXPIRED
            served.fail(TIMED_OUT)
        elif outcome == c.FAILED:
            served.fail(error or state)
        served.end(outcome)


__all__ = ["AgentSpans"]
