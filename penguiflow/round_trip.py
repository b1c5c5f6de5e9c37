"""Fetching: plain, and by trace with its round-trip lock."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from penguiflow.egress import Egress, EgressQueue, Result
from penguiflow.errors import TraceCancelled
from penguiflow.traces import Trace, Traces
from penguiflow.types import Message
from penguiflow.waiters import wait_in, wake, wake_all

_REMEMBERED = 1024
"""Cancelled traces that are remembered for a fetch that comes late."""


class RoundTrips:
    """Who may fetch what: a trace with a scoped emit or fetch keeps its next result for it."""

    def __init__(self, traces: Traces, egress: Egress, is_running: Callable[[], bool]) -> None:
        self._traces = traces
        self._egress = egress
        self._is_running = is_running
        self._cancelled: OrderedDict[str, None] = OrderedDict()
        self._stops = 0
        self.used: bool = False
        """Whether there was a scoped call."""
        traces.on_unlock = self.unlock

    @staticmethod
    def stamp(value: Any, trace_id: str) -> Any:
        """The value with this trace id; a `Message` of another trace is copied.

        Raises:
            TypeError: the value takes no attribute `trace_id`.
        """
        if isinstance(value, Message):
            if value.trace_id == trace_id:
                return value
            return value.model_copy(update={"trace_id": trace_id})
        try:
            value.trace_id = trace_id
        except (AttributeError, TypeError, ValueError) as exc:
            msg = (
                "emit(trace_id=...) requires a Message (or object with writable .trace_id), "
                f"not {type(value).__name__}"
            )
            raise TypeError(msg) from exc
        return value

    # The lock of a round trip

    async def begin(self, trace_id: str) -> Trace:
        """Open the round trip; waits while another one of the same trace, or its cancel, lasts.

        What is left over from earlier ones is for plain fetches. `begun` has to follow.
        """
        self.used = True
        trace = self._traces.open(trace_id)
        while trace.locked or trace.cancelled:
            await self._wait_for_lock(trace)
            trace = self._traces.open(trace_id)
        trace.locked = True
        trace.readers += 1  # keeps it alive until its message is enqueued
        trace.skipped = len(trace.results)
        if self._cancelled:
            self._cancelled.pop(trace_id, None)
        return trace

    async def _wait_for_lock(self, trace: Trace) -> None:
        if trace.lock_waiters is None:
            trace.lock_waiters = deque()
        try:
            await wait_in(trace.lock_waiters)
        except BaseException:
            self._traces.settle(trace)
            raise

    def begun(self, trace: Trace, *, refused: bool = False) -> None:
        """The message of the round trip is enqueued, or it was refused."""
        trace.readers -= 1
        if refused:
            self._release(trace)
        elif not trace.pending:
            self._traces.settle(trace)

    def emitted(self, trace_id: str) -> None:
        """A message of the trace came in: if it was cancelled before, that is over."""
        if trace_id in self._cancelled and not self._traces.is_cancelled(trace_id):
            del self._cancelled[trace_id]

    def unlock(self, trace: Trace) -> None:
        """Let the next round trip of the trace begin."""
        trace.locked = False
        if trace.lock_waiters:
            wake(trace.lock_waiters)

    def _release(self, trace: Trace) -> None:
        """End the round trip: the next one may begin, left-over results are for anybody."""
        if trace.locked:
            self.unlock(trace)
        if not trace.readers and trace.results:
            self._egress.list_leftovers(trace)
        if not trace.pending:
            self._traces.settle(trace)

    def abandon(self, trace: Trace) -> None:
        """The trace was cancelled: end its round trip and its scoped fetches."""
        self._cancelled[trace.trace_id] = None
        self._cancelled.move_to_end(trace.trace_id)
        if len(self._cancelled) > _REMEMBERED:
            self._cancelled.popitem(last=False)
        trace.locked = False
        if trace.waiting_readers:
            wake_all(trace.waiting_readers)

    def forgotten(self, trace: Trace) -> None:
        """The cancel is finished: who waited for the lock may go on."""
        if trace.lock_waiters:
            wake_all(trace.lock_waiters)

    def stopped(self) -> None:
        """The flow stopped: waiting fetches raise, locks are free."""
        self._stops += 1
        for trace in self._traces:
            if trace.locked or trace.readers:
                self.unlock(trace)
                if trace.waiting_readers:
                    wake_all(trace.waiting_readers)
                self._release(trace)
        self._egress.wake_readers()

    # Fetching

    async def fetch_any(self, queues: Sequence[EgressQueue] | None) -> Any:
        """The oldest result that no scoped fetch has a claim to, of all or some edges.

        Raises:
            RuntimeError: the flow was stopped while this waited.
        """
        stops = self._stops
        while (result := self._egress.take_listed(queues)) is None:
            if stops != self._stops:
                raise _stopped()
            await self._egress.wait(of_some_edges=queues is not None)
        return result.value

    async def fetch(self, trace_id: str) -> Any:
        """The oldest result of one trace.

        Raises:
            TraceCancelled: the trace was cancelled before or meanwhile.
            RuntimeError: the flow is, or was, stopped and nothing is there.
        """
        self.used = True
        trace = self._traces.open(trace_id)
        result = self._egress.take_scoped(trace)
        if result is None:
            trace.readers += 1
            try:
                while result is None:
                    result = await self._await_result(trace)
            finally:
                trace.readers -= 1
                if result is None and not trace.readers:
                    self._release(trace)
        self._release(trace)
        return result.value

    async def fetch_or_end(self, trace: Trace) -> Result | None:
        """The oldest result of a trace that is subscribed to; None when nothing of it is left.

        Raises as `fetch`.
        """
        result = self._egress.take_scoped(trace)
        while result is None and not trace.is_over:
            result = await self._await_result(trace)
        if result is not None:
            self._release(trace)
        elif trace.cancelled or trace.trace_id in self._cancelled:
            raise TraceCancelled(trace.trace_id)
        return result

    async def _await_result(self, trace: Trace) -> Result | None:
        """The next result; None when nothing of the trace is left that could bring one."""
        stops, woken = self._stops, False
        while True:
            if trace.cancelled or trace.trace_id in self._cancelled:
                raise TraceCancelled(trace.trace_id)
            if stops != self._stops or not self._is_running():
                raise _stopped()
            if woken and trace.is_over:
                return None
            if trace.waiting_readers is None:
                trace.waiting_readers = deque()
            await wait_in(trace.waiting_readers)
            result, woken = self._egress.take_scoped(trace), True
            if result is not None:
                return result

    @contextmanager
    def subscribed(self, trace_id: str) -> Iterator[TraceResults]:
        """Keep every result of the trace from now on for fetches by its id."""
        self.used = True
        trace = self._traces.open(trace_id)
        trace.readers += 1
        trace.skipped = len(trace.results)
        try:
            yield TraceResults(self, trace)
        finally:
            trace.readers -= 1
            if not trace.readers:
                self._release(trace)


class TraceResults:
    """The results of a trace that is subscribed to."""

    def __init__(self, trips: RoundTrips, trace: Trace) -> None:
        self._trips = trips
        self._trace = trace

    async def next(self) -> Result | None:
        """The next result; None when nothing of the trace is queued, in work or unread any more.

        Raises:
            TraceCancelled: the trace was cancelled.
            RuntimeError: the flow was stopped.
        """
        return await self._trips.fetch_or_end(self._trace)


def _stopped() -> RuntimeError:
    return RuntimeError("PenguiFlow is not running")
