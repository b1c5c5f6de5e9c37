"""The metrics of operations that a service answers for a protocol."""

from __future__ import annotations

from time import perf_counter
from typing import Any, cast

from penguiflow.telemetry import conventions as c
from penguiflow.telemetry import metric_names as m
from penguiflow.telemetry.meters import Labels, Meters, Series
from penguiflow.telemetry.outcomes import of_call


class _Operation:
    """An operation under way."""

    __slots__ = ("labels", "open_streams", "started")

    def __init__(self, labels: Labels, open_streams: Series | None) -> None:
        self.labels: Labels = labels
        self.open_streams: Series | None = open_streams
        self.started: float = perf_counter()


class ServiceMetrics:
    """What one service is asked here, by binding and operation."""

    def __init__(self, meters: Meters, *, system: str) -> None:
        self._system = system
        self._timer = meters.timer(m.SERVED)
        self._open = meters.tally(m.OPEN_STREAMS)

    def begin(self, operation: str, *, binding: str, streaming: bool, **caller: Any) -> _Operation:
        labels = (
            (c.RPC_SYSTEM, self._system),
            (c.RPC_METHOD, operation),
            (c.BINDING, binding),
        )
        found = _Operation(labels, self._open.at(labels) if streaming else None)
        if found.open_streams is not None:
            found.open_streams.value += 1
        return found

    def traceparent(self, span: Any) -> str | None:
        return None

    def end(self, span: Any, error: BaseException | None, *, refused: bool) -> None:
        operation = cast("_Operation", span)
        if operation.open_streams is not None:
            operation.open_streams.value -= 1
        outcome, kind = of_call(error)
        if refused and kind is not None:
            outcome = c.REFUSED
        labels = (*operation.labels, (c.OUTCOME, outcome))
        if kind is not None:
            labels += ((c.ERROR_TYPE, kind),)
        self._timer.record(perf_counter() - operation.started, labels)


__all__ = ["ServiceMetrics"]
