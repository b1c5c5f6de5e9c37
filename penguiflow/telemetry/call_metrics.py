"""The metrics of calls to remote agents, at both ends."""

from __future__ import annotations

from contextvars import Context
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, cast

from penguiflow.telemetry import conventions as c
from penguiflow.telemetry import metric_names as m
from penguiflow.telemetry.addresses import address
from penguiflow.telemetry.meters import Labels, Meters, Series
from penguiflow.telemetry.outcomes import of_call

if TYPE_CHECKING:
    from penguiflow.remote_models import RemoteCallRequest

STALLED: Final = 1.0
"""Seconds without a chunk that count as a stall of a stream."""


class _Call:
    """A call under way."""

    __slots__ = ("chunked", "in_flight", "labels", "started")

    def __init__(self, labels: Labels, in_flight: Series) -> None:
        self.labels: Labels = labels
        self.in_flight: Series = in_flight
        self.started: float = perf_counter()
        self.chunked: float = 0.0
        """When the last chunk came; 0 before the first."""


class CallMetrics:
    """What this process calls."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._in_flight = meters.tally(m.CALLS_IN_FLIGHT)
        self._chunks = meters.tally(m.CHUNKS)

    def begin(self, request: RemoteCallRequest, *, streaming: bool) -> _Call:
        system, agent = address(request.agent_url)
        labels = ((c.RPC_SYSTEM, system), (c.RPC_METHOD, f"{agent}/{request.skill}"))
        call = _Call(labels, self._in_flight.at(labels))
        call.in_flight.value += 1
        return call

    def chunk(self, span: Any, size: int) -> None:
        call, now = cast("_Call", span), perf_counter()
        self._chunks.at(call.labels).value += 1
        if not call.chunked:
            self._meters.timer(m.FIRST_CHUNK).record(now - call.started, call.labels)
        elif now - call.chunked > STALLED:
            self._meters.tally(m.STALLS).at(call.labels).value += 1
        call.chunked = now

    def resumed(self, span: Any, attempt: int) -> None:
        self._meters.tally(m.RESUMES).at(cast("_Call", span).labels).value += 1

    def cancelled(self, span: Any, reason: str) -> None:
        """Told by the end."""

    def end(self, span: Any, error: BaseException | None) -> None:
        call = cast("_Call", span)
        call.in_flight.value -= 1
        outcome, kind = of_call(error)
        labels = (*call.labels, (c.OUTCOME, outcome))
        if kind is not None:
            labels += ((c.ERROR_TYPE, kind),)
        self._meters.timer(m.CALL).record(perf_counter() - call.started, labels)


class AgentMetrics:
    """What one agent is called for here."""

    def __init__(self, meters: Meters, name: str) -> None:
        self._name = name
        self._timer = meters.timer(m.SERVED)
        self._in_flight = meters.tally(m.SERVED_IN_FLIGHT)

    def begin(self, *, skill: str, **call: Any) -> _Call:
        labels = ((c.RPC_SYSTEM, "nats"), (c.RPC_METHOD, f"{self._name}/{skill}"))
        served = _Call(labels, self._in_flight.at(labels))
        served.in_flight.value += 1
        return served

    def context(self, span: Any) -> Context | None:
        return None

    def end(self, span: Any, state: str, error: str | None) -> None:
        call = cast("_Call", span)
        call.in_flight.value -= 1
        labels = (*call.labels, (c.OUTCOME, state))
        if error is not None:
            labels += ((c.ERROR_TYPE, error),)
        self._timer.record(perf_counter() - call.started, labels)


__all__ = ["AgentMetrics", "CallMetrics"]
