"""An instrument that writes down what it is told."""

from __future__ import annotations

from typing import Any

from penguiflow.telemetry.instrument import FlowPlace


class Recorder:
    """Every part at once; a span is a number."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self._count = 0

    def _span(self, *what: Any) -> int:
        self._count += 1
        self.told.append((*what, self._count))
        return self._count

    def names(self) -> list[str]:
        return [each[0] for each in self.told]

    def of(self, name: str) -> list[tuple[Any, ...]]:
        return [each for each in self.told if each[0] == name]

    # Instrument

    def flow(self, place: FlowPlace) -> Recorder:
        self.told.append(("flow", place))
        return self

    def calls(self) -> Recorder:
        return self

    def agent(self, name: str, *, tenant: str, instance: str) -> Recorder:
        return self

    def service(self, name: str, *, system: str) -> Recorder:
        return self

    # Flow

    def node(self, name: str) -> Recorder:
        return self

    def emitted(self, trace_id: str | None) -> int:
        return self._span("emitted", trace_id)

    def emitting(self, envelope: Any, append: Any, *, redrives: Any = ()) -> Any:
        self.told.append(("emitting", envelope.trace))
        return append, envelope

    def sending(self, span: Any, envelope: Any, append: Any) -> Any:
        self.told.append(("sending", envelope.node, envelope.outcome, span))
        return append, envelope

    def burying(self, span: Any, traceparent: Any, bury: Any) -> Any:
        self.told.append(("burying", span))
        return bury

    async def cancelling(self, trace_id: str, cancel: Any) -> bool:
        self.told.append(("cancelling", trace_id))
        return bool(await cancel(lambda above, run: "00-" + "1" * 32 + "-" + "2" * 16 + "-01"))

    def cancelled_by(self, spans: Any, traceparent: str | None) -> None:
        self.told.append(("cancelled_by", list(spans), traceparent))

    def joined(self, span: Any, others: Any) -> None:
        self.told.append(("joined", span, list(others)))

    # Node

    def begin(self, *what: Any, **call: Any) -> int:
        return self._span("begin", *what, call)

    def within(self, span: Any, work: Any) -> Any:
        self.told.append(("within", span))
        return work

    def event(self, span: Any, event_type: str, exc: Any, extra: Any) -> Any:
        self.told.append(("event", event_type, span))
        return extra

    def end(self, *what: Any) -> None:
        self.told.append(("end", *what))

    def settling(self, span: Any, operation: str, settle: Any) -> Any:
        self.told.append(("settling", operation, span))
        return settle

    def refused(self, entry: Any) -> int:
        return self._span("refused", entry)

    def known(self, delivery: Any) -> None:
        self.told.append(("known", delivery.input_id))

    # Calls and agents

    def chunk(self, span: Any, size: int) -> None:
        self.told.append(("chunk", size, span))

    def resumed(self, span: Any, attempt: int) -> None:
        self.told.append(("resumed", attempt, span))

    def cancelled(self, span: Any, reason: str) -> None:
        self.told.append(("cancelled", reason, span))

    def context(self, span: Any) -> None:
        self.told.append(("context", span))
