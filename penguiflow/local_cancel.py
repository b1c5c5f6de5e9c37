"""Cancelling a trace of a local flow: from `trace_cancel_start` to `trace_cancel_finish`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from penguiflow.endpoints import OPEN_SEA, ROOKERY
from penguiflow.telemetry.instrument import Announce
from penguiflow.traces import Trace

if TYPE_CHECKING:
    from penguiflow.local import LocalHost


class LocalCancel:
    """Drops what waits of a trace, cancels what runs of it, and sees the end of both."""

    def __init__(self, host: LocalHost) -> None:
        self._host = host

    async def start(self, trace_id: str, announce: Announce | None = None) -> bool:
        """Cancel a trace; does not wait for its end. `announce` gives the cancel's trace context.

        Returns:
            False when nothing of the trace is queued, running or unread.
        """
        host = self._host
        trace = host.traces.get(trace_id)
        if trace is None:
            return False
        if not (trace.pending or trace.runs):
            self._clear(trace)
            return False
        if trace.cancelled:
            return True
        trace.cancelled = True
        host.traces.cancel_event(trace_id).set()
        await host.events.emit(
            "trace_cancel_start",
            level=logging.INFO,
            source=OPEN_SEA,
            trace_id=trace_id,
            extra={"pending": trace.pending},
        )
        if host.instrument is not None:
            spans = [run.delivery.span for run in trace.runs]
            by = None if announce is None else announce(None, spans[0] if spans else None)
            host.instrument.cancelled_by(spans, by)
        for run in list(trace.runs):
            run.cancel()
        await self._drop(trace)
        await self.finish(trace)
        return True

    def _clear(self, trace: Trace) -> None:
        """Nothing of it is alive: free its lock, and forget what a join has collected."""
        trace.buckets = None
        if trace.locked:
            self._host.round_trips.unlock(trace)
        self._host.traces.settle(trace)

    async def _drop(self, trace: Trace) -> None:
        host, trace_id = self._host, trace.trace_id
        dropped = host.edges.drop(trace) + host.timers.drop(trace)
        for node, loop in host.node_loops.items():
            for _ in range(loop.drop_waiting(trace_id)):
                # It was between two attempts: this is how its node hears of the cancel.
                await host.events.emit(
                    "node_trace_cancelled", level=logging.INFO, source=node, trace_id=trace_id
                )
                dropped += 1
        host.round_trips.abandon(trace)
        trace.dropped(dropped)

    async def finish(self, trace: Trace) -> None:
        """Say that the cancel is over, once nothing is left; the id is usable again."""
        if trace.pending or trace.runs or not self._host.traces.forget(trace):
            return
        self._host.round_trips.forgotten(trace)
        await self._host.events.emit(
            "trace_cancel_finish", level=logging.INFO, source=ROOKERY, trace_id=trace.trace_id
        )

    async def finish_all(self) -> None:
        """The flow stopped: drop what came in of cancelled traces meanwhile."""
        for trace in self._host.traces:
            if trace.cancelled:
                await self._drop(trace)
                await self.finish(trace)
