"""What runs in this process, by trace."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from penguiflow.invocation import Invocation


class RunningTraces:
    """The runs of each trace, so that a cancel reaches them. Kept cheap: it is asked per input."""

    def __init__(self) -> None:
        self._runs: dict[str, list[Invocation]] = {}
        self._cancelled: set[str] = set()
        self._events: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    def begin(self, trace_id: str, run: Invocation) -> None:
        """A run starts."""
        runs = self._runs.get(trace_id)
        if runs is None:
            self._runs[trace_id] = [run]
        else:
            runs.append(run)

    def end(self, trace_id: str, run: Invocation) -> None:
        """A run is over; of a trace without runs nothing is kept."""
        runs = self._runs[trace_id]
        if len(runs) > 1:
            runs.remove(run)
            return
        del self._runs[trace_id]
        if self._cancelled:
            self._cancelled.discard(trace_id)

    def is_cancelled(self, trace_id: str | None) -> bool:
        """Whether the trace was cancelled while something of it runs here."""
        return bool(self._cancelled) and trace_id in self._cancelled

    def count(self, trace_id: str) -> int:
        """How many runs the trace has."""
        return len(self._runs.get(trace_id, ()))

    def runs(self, trace_id: str) -> list[Invocation]:
        """The runs of the trace."""
        return list(self._runs.get(trace_id, ()))

    def traces(self) -> list[str]:
        """The traces that something runs for."""
        return list(self._runs)

    def cancel(self, trace_id: str) -> None:
        """Cancel what of the trace runs here. Idempotent."""
        runs = self._runs.get(trace_id)
        if not runs or trace_id in self._cancelled:
            return
        self._cancelled.add(trace_id)
        event = self._events.get(trace_id)
        if event is not None:
            event.set()
        for run in list(runs):
            run.cancel()

    def cancel_event(self, trace_id: str) -> asyncio.Event:
        """The event that a cancel of the trace sets; the same one while somebody holds it."""
        event = self._events.get(trace_id)
        if event is None:
            event = self._events[trace_id] = asyncio.Event()
            if self.is_cancelled(trace_id):
                event.set()
        return event
