"""The metrics of a flow in this process: its runs, its writes, its dead letters."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Iterable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from penguiflow.durable.log import AlreadyCommitted, InputGone
from penguiflow.telemetry import conventions as c
from penguiflow.telemetry import metric_names as m
from penguiflow.telemetry.meters import Labels, Meters
from penguiflow.telemetry.outcomes import BY_EVENT, error_type, of_settlement

if TYPE_CHECKING:
    from penguiflow.decide import Outcome
    from penguiflow.durable.dead_letters import DeadLetter
    from penguiflow.durable.delivery import DurableDelivery
    from penguiflow.durable.envelope import Envelope
    from penguiflow.durable.log import LogDelivery
    from penguiflow.invocation import Delivery
    from penguiflow.telemetry.instrument import Append, Bury, Cancel, FlowPlace, Settle


class FlowMetrics:
    """The metrics of one flow."""

    def __init__(self, meters: Meters, place: FlowPlace, *, by_tenant: bool) -> None:
        self._meters = meters
        self._place = place
        self._base: Labels = ((c.FLOW, place.flow),)
        if by_tenant and place.tenant is not None:
            self._base += ((c.TENANT, place.tenant),)
        if place.system is not None:
            self._base += ((c.SYSTEM, place.system),)
        self._publish = (*self._base, (c.OPERATION, "publish"))

    def node(self, name: str) -> NodeMetrics:
        return NodeMetrics(self._meters, self._place, (*self._base, (c.NODE, name)))

    def emitted(self, trace_id: str | None) -> Any:
        return None

    def emitting(
        self, envelope: Envelope, append: Append, *, redrives: Sequence[str] = ()
    ) -> tuple[Append, Envelope]:
        return self._timed((*self._base, (c.OPERATION, "emit")), append), envelope

    def sending(self, span: Any, envelope: Envelope, append: Append) -> tuple[Append, Envelope]:
        return self._timed(self._publish, append), envelope

    def _timed(self, labels: Labels, append: Append) -> Append:
        """An append that is timed and counted."""

        async def timed(*args: Any, **conditions: Any) -> int:
            started, failure = perf_counter(), ""
            try:
                return await append(*args, **conditions)
            except AlreadyCommitted:
                failure = c.DUPLICATE
                raise
            except InputGone:
                failure = c.GONE
                raise
            except BaseException as error:
                failure = error_type(error)
                raise
            finally:
                told = (*labels, (c.ERROR_TYPE, failure)) if failure else labels
                self._meters.timer(m.PUBLISH).record(perf_counter() - started, told)
                self._meters.tally(m.SENT).at(told).value += 1

        return timed

    def burying(self, span: Any, traceparent: str | None, bury: Bury) -> Bury:
        async def counted(letter: DeadLetter) -> None:
            await bury(letter)
            labels = (*self._base, (c.NODE, letter.node), (c.REASON, letter.reason.value))
            self._meters.tally(m.DEAD_LETTERS).at(labels).value += 1

        return counted

    def cancelling(self, trace_id: str, cancel: Cancel) -> Awaitable[bool]:
        self._meters.tally(m.CANCELS).at(self._base).value += 1
        return cancel(_silent)

    def cancelled_by(self, spans: Iterable[Any], traceparent: str | None) -> None:
        """Counted by each run's end."""

    def joined(self, span: Any, others: Sequence[Any]) -> None:
        """Each of them is counted."""

    def backlog(self, node: str, pending: int, in_hand: int) -> None:
        labels = (*self._base, (c.NODE, node))
        self._meters.tally(m.PENDING).at(labels).value = pending
        self._meters.tally(m.LAG).at(labels).value = pending + in_hand

    def stored(self, seconds: float, error: BaseException | None) -> None:
        labels = self._base if error is None else (*self._base, (c.ERROR_TYPE, error_type(error)))
        self._meters.timer(m.STORE).record(seconds, labels)


def _silent(traceparent: str | None, span: Any) -> None:
    """Nothing is to be carried."""


class _Run:
    """A run under way."""

    __slots__ = ("error_type", "outcome", "started")

    def __init__(self) -> None:
        self.started: float = perf_counter()
        self.outcome: str = ""
        self.error_type: str = ""


class NodeMetrics:
    """The metrics of one node's runs."""

    def __init__(self, meters: Meters, place: FlowPlace, labels: Labels) -> None:
        self._labels = labels
        self._now = place.now
        self._durable = place.system is not None
        self._duration = meters.timer(m.PROCESS if self._durable else m.NODE)
        self._hop = meters.timer(m.HOP)
        self._attempts = meters.tally(m.ATTEMPTS)
        self._in_flight = meters.tally(m.IN_FLIGHT).at(labels)
        self._consumed = meters.tally(m.CONSUMED).at(labels)
        self._redeliveries = meters.tally(m.REDELIVERIES).at(labels)
        self._retries = meters.tally(m.RETRIES).at(labels)
        self._ended: dict[str, Labels] = {}

    def begin(self, delivery: Delivery, origin: Any) -> _Run:
        self._in_flight.value += 1
        if self._durable:
            self._delivered(cast("DurableDelivery", delivery).log_delivery)
        return _Run()

    def _delivered(self, entry: LogDelivery) -> None:
        self._consumed.value += 1
        if entry.num_delivered > 1:
            self._redeliveries.value += 1
        elif self._now is not None:
            self._hop.record(max(0.0, self._now() - entry.stored.timestamp), self._labels)

    def within(self, span: Any, work: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        return work

    def event(
        self,
        span: Any,
        event_type: str,
        exc: BaseException | None,
        extra: Mapping[str, Any] | None,
    ) -> Mapping[str, Any] | None:
        run = cast("_Run", span)
        run.outcome = BY_EVENT.get(event_type, run.outcome)
        if exc is not None:
            run.error_type = error_type(exc)
        if event_type == "node_retry":
            self._retries.value += 1
        return extra

    def end(self, span: Any, outcome: Outcome | None) -> None:
        run = cast("_Run | None", span)
        if run is None:
            return
        self._in_flight.value -= 1
        labels = self._outcome(run.outcome or of_settlement(outcome), run.error_type)
        self._duration.record(perf_counter() - run.started, labels)
        self._attempts.at(labels).value += 1

    def _outcome(self, outcome: str, kind: str) -> Labels:
        if kind:
            return (*self._labels, (c.OUTCOME, outcome), (c.ERROR_TYPE, kind))
        found = self._ended.get(outcome)
        if found is None:
            found = self._ended[outcome] = (*self._labels, (c.OUTCOME, outcome))
        return found

    def settling(self, span: Any, operation: str, settle: Settle) -> Settle:
        return settle

    def refused(self, entry: LogDelivery) -> Any:
        self._delivered(entry)
        return None

    def known(self, delivery: DurableDelivery) -> None:
        self._delivered(delivery.log_delivery)
        self._attempts.at(self._outcome(c.DUPLICATE, "")).value += 1


__all__ = ["FlowMetrics", "NodeMetrics"]
