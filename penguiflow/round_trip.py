"""Fetching: plain, and by trace with its round-trip lock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from penguiflow.egress import Egress
from penguiflow.errors import TraceCancelled
from penguiflow.floe import Floe, wait_in, wake
from penguiflow.traces import Traces
from penguiflow.types import Message

_REMEMBERED = 1024
"""Cancelled round trips that are remembered for a fetch that comes late."""


class RoundTrips:
    """Who may fetch what: a trace with a scoped emit or fetch keeps its next result for it."""

    def __init__(self, traces: Traces, egress: Egress) -> None:
        self._traces = traces
        self._egress = egress
        self._cancelled: OrderedDict[str, None] = OrderedDict()
        self._stops = 0
        self._cancels: dict[str, int] = {}
        self.used = False
        """Whether there was a scoped call."""

    @staticmethod
    def stamp(value: Any, trace_id: str) -> Any:
        """The value with this trace id; a `Message` is copied.

        Raises:
            TypeError: the value takes no attribute `trace_id`.
        """
        if isinstance(value, Message):
            return value.model_copy(update={"trace_id": trace_id})
        try:
            value.trace_id = trace_id
        except (AttributeError, TypeError, ValueError) as exc:
            msg = (
                f"cannot set trace_id on {type(value).__name__}; "
                "send a Message or an object with a trace_id"
            )
            raise TypeError(msg) from exc
        return value

    async def begin(self, trace_id: str) -> None:
        """Open the round trip; waits while another one of the same trace is open."""
        self.used = True
        self._cancelled.pop(trace_id, None)
        trace = self._traces.open(trace_id)
        while trace.round_trip:
            await wait_in(trace.round_trip_waiters, lambda t=trace: not t.round_trip)
            trace = self._traces.open(trace_id)
        trace.round_trip = True

    def release(self, trace_id: str) -> None:
        """Close the round trip; the next one may begin, left-over results are for anybody."""
        trace = self._traces.get(trace_id)
        if trace is None or not trace.round_trip:
            return
        trace.round_trip = False
        wake(trace.round_trip_waiters)
        self._traces.close_if_idle(trace)
        self._egress.released()

    def abandon(self, trace_id: str, *, cancelled: bool) -> None:
        """The trace was cancelled: free its lock, end its scoped fetches."""
        trace = self._traces.get(trace_id)
        if trace is None:
            return
        if cancelled and trace.scoped_readers:
            self._cancels[trace_id] = self._cancels.get(trace_id, 0) + 1
        elif cancelled and trace.round_trip:
            self._cancelled[trace_id] = None
            if len(self._cancelled) > _REMEMBERED:
                self._cancelled.popitem(last=False)
        self.release(trace_id)
        self._egress.wake_trace(trace_id)

    def stopped(self) -> None:
        """The flow stopped: waiting fetches raise, locks are free."""
        self._stops += 1
        for trace in self._traces.live():
            self.release(trace.trace_id)
        self._egress.wake_everybody()

    async def fetch_any(self, floes: Sequence[Floe] | None) -> Any:
        """The oldest result that no scoped fetch has a claim to."""
        stops = self._stops
        while True:
            result = self._egress.take_any(floes)
            if result is not None:
                break
            if stops != self._stops:
                raise _stopped()
            await self._egress.wait_any()
        self._traces.removed(result.trace_id)
        self._egress.released()
        return result.value

    async def fetch(self, trace_id: str, *, running: bool) -> Any:
        """The oldest result of one trace.

        Raises:
            TraceCancelled: the trace was cancelled before or meanwhile.
            RuntimeError: the flow is, or was, stopped and nothing is there.
        """
        self.used = True
        if trace_id in self._cancelled:
            del self._cancelled[trace_id]
            raise TraceCancelled(trace_id)
        trace = self._traces.open(trace_id)
        trace.scoped_readers += 1
        stops, cancels = self._stops, self._cancels.get(trace_id, 0)
        try:
            while True:
                result = self._egress.take_scoped(trace_id)
                if result is not None:
                    break
                if self._cancels.get(trace_id, 0) != cancels:
                    raise TraceCancelled(trace_id)
                if not running or stops != self._stops:
                    raise _stopped()
                await self._egress.wait_scoped(trace_id)
        finally:
            trace.scoped_readers -= 1
            if not trace.scoped_readers:
                self._cancels.pop(trace_id, None)
            self._free(trace_id)
        self._traces.removed(trace_id)
        return result.value

    def _free(self, trace_id: str) -> None:
        trace = self._traces.get(trace_id)
        if trace is None:
            return
        self.release(trace_id)
        self._traces.close_if_idle(trace)
        self._egress.released()


def _stopped() -> RuntimeError:
    return RuntimeError("PenguiFlow is not running")
