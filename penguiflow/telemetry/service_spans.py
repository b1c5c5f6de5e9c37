"""The span of an operation that a service answers for a protocol."""

from __future__ import annotations

from typing import Any, cast

from opentelemetry.trace import SpanKind

from penguiflow.telemetry import conventions as c
from penguiflow.telemetry.attempt import Attempt, Part
from penguiflow.telemetry.ids import span_context
from penguiflow.telemetry.outcomes import of_call


class ServiceSpans:
    """SERVER spans: one for each operation, under the caller's span."""

    def __init__(self, part: Part, name: str, *, system: str) -> None:
        self._part = part
        self._base: dict[str, Any] = {c.RPC_SYSTEM: system, c.GEN_AI_AGENT: name}

    def begin(
        self,
        operation: str,
        *,
        binding: str,
        streaming: bool,
        traceparent: str | None,
        tracestate: str | None,
    ) -> Any:
        attributes = {
            **self._base,
            c.RPC_METHOD: operation,
            c.BINDING: binding,
            c.STREAMING: streaming,
        }
        parent = span_context(traceparent, tracestate)
        return self._part.start(
            operation, SpanKind.SERVER, attributes, parent=parent, trace_id=None
        )

    def traceparent(self, span: Any) -> str | None:
        return cast("Attempt", span).traceparent

    def end(self, span: Any, error: BaseException | None, *, refused: bool) -> None:
        served = cast("Attempt", span)
        if not served.recording:
            return
        outcome, kind = of_call(error)
        if refused and kind is not None:  # the caller's mistake is none of ours
            served.span.set_attribute(c.ERROR_TYPE, kind)
            outcome = c.REFUSED
        elif kind is not None:
            served.fail(kind)
        served.end(outcome)


__all__ = ["ServiceSpans"]
