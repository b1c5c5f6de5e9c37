"""The results of a local flow: in order of arrival, each trace's apart.

No trace waits for another one's reader: a trace that nobody reads only fills its own share.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from penguiflow.floe import Floe, wait_in, wake
from penguiflow.traces import Traces


class Result:
    """A value that reached the egress."""

    __slots__ = ("floe", "taken", "trace_id", "value")

    def __init__(self, value: Any, trace_id: str | None, floe: Floe) -> None:
        self.value = value
        self.trace_id = trace_id
        self.floe = floe
        self.taken = False


class EgressQueue:
    """The face of the results of one egress edge, with asyncio.Queue's reading interface."""

    __slots__ = ("_egress", "_floe", "count", "maxsize")

    def __init__(self, egress: Egress, floe: Floe, maxsize: int) -> None:
        self._egress = egress
        self._floe = floe
        self.maxsize = maxsize
        self.count = 0

    def qsize(self) -> int:
        return self.count

    def empty(self) -> bool:
        return self.count == 0

    def get_nowait(self) -> Any:
        """Take the oldest result of this edge. Raises `asyncio.QueueEmpty`."""
        result = self._egress.take_any([self._floe])
        if result is None:
            raise asyncio.QueueEmpty
        return result.value


class Egress:
    """All results that nobody fetched yet."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces
        self._order: deque[Result] = deque()
        self._by_trace: dict[str, deque[Result]] = {}
        self._taken = 0
        self._readers: deque[asyncio.Future[None]] = deque()
        self._scoped: dict[str, deque[asyncio.Future[None]]] = {}
        self._room: deque[asyncio.Future[None]] = deque()
        self.unread_untraced = 0

    def __len__(self) -> int:
        return len(self._order) - self._taken

    def add(self, value: Any, trace_id: str | None, floe: Floe) -> None:
        """Add a result. The caller has waited for the trace's room and counts it as pending."""
        result = Result(value, trace_id, floe)
        self._order.append(result)
        floe.queue.count += 1
        if trace_id is None:
            self.unread_untraced += 1
        else:
            self._by_trace.setdefault(trace_id, deque()).append(result)
            self._traces.open(trace_id).unread += 1
        trace = self._traces.get(trace_id)
        if trace is not None and trace.subscribed and trace_id is not None:
            wake(self._scoped.get(trace_id, _NOBODY))
        else:
            wake(self._readers)

    def take_scoped(self, trace_id: str) -> Result | None:
        """Take the oldest result of a trace."""
        results = self._by_trace.get(trace_id)
        return self._take(results[0]) if results else None

    def take_any(self, floes: Sequence[Floe] | None = None) -> Result | None:
        """Take the oldest result, of all or some edges, that no scoped fetch has a claim to."""
        for result in self._order:
            if result.taken or (floes is not None and result.floe not in floes):
                continue
            trace = self._traces.get(result.trace_id)
            if trace is None or not trace.subscribed:
                return self._take(result)
        return None

    def _take(self, result: Result) -> Result:
        result.taken = True
        self._taken += 1
        result.floe.queue.count -= 1
        if result.trace_id is None:
            self.unread_untraced -= 1
        else:
            self._unlist(result, result.trace_id)
        self._compact()
        if self._room:
            wake_all(self._room)
        return result

    def _unlist(self, result: Result, trace_id: str) -> None:
        results = self._by_trace[trace_id]
        if results[0] is result:
            results.popleft()
        else:
            results.remove(result)
        if not results:
            del self._by_trace[trace_id]
        trace = self._traces.get(trace_id)
        if trace is not None:
            trace.unread -= 1

    def _compact(self) -> None:
        while self._order and self._order[0].taken:
            self._order.popleft()
            self._taken -= 1
        if self._taken > 64 and self._taken * 2 > len(self._order):
            self._order = deque(result for result in self._order if not result.taken)
            self._taken = 0

    def drop(self, trace_id: str) -> int:
        """Remove every unread result of a trace; returns how many."""
        dropped = 0
        while self.take_scoped(trace_id) is not None:
            dropped += 1
        return dropped

    async def wait_below(self, limit: int) -> None:
        """Wait until fewer than `limit` results are unread."""
        await self.wait_for_room(lambda: len(self) < limit)

    async def wait_for_room(self, has_room: Callable[[], bool]) -> None:
        """Wait until `has_room()`; asked again each time a result is taken."""
        while not has_room():
            await wait_in(self._room, lambda: False)

    async def wait_any(self) -> None:
        """Wait until a plain fetch may find something."""
        await wait_in(self._readers, lambda: True)

    async def wait_scoped(self, trace_id: str) -> None:
        """Wait until a scoped fetch of the trace may find something."""
        waiters = self._scoped.setdefault(trace_id, deque())
        try:
            await wait_in(waiters, lambda: trace_id in self._by_trace)
        finally:
            if not waiters and self._scoped.get(trace_id) is waiters:
                del self._scoped[trace_id]

    def released(self) -> None:
        """Results may be there for a waiting plain fetch."""
        wake(self._readers)

    def wake_trace(self, trace_id: str) -> None:
        """Let every scoped fetch of the trace look again."""
        wake_all(self._scoped.get(trace_id, _NOBODY))

    def wake_everybody(self) -> None:
        """Let every waiting fetch look again."""
        wake_all(self._readers)
        for waiters in list(self._scoped.values()):
            wake_all(waiters)


def wake_all(waiters: deque[asyncio.Future[None]]) -> None:
    """Wake every waiter."""
    while waiters:
        wake(waiters)


_NOBODY: deque[asyncio.Future[None]] = deque()
