"""The results of a local flow: in order of arrival, each trace's apart.

No trace waits for another one's reader: a trace that nobody reads only fills its own share.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from penguiflow.floe import trace_of
from penguiflow.traces import Trace, Traces
from penguiflow.waiters import Waiters, wait_in, wake, wake_all


class Result:
    """A value that reached the egress."""

    __slots__ = ("listed", "queue", "taken", "trace", "value")

    def __init__(self, value: Any, trace: Trace | None, queue: EgressQueue) -> None:
        self.value: Any = value
        self.trace: Trace | None = trace
        self.queue: EgressQueue = queue
        self.listed: bool = False
        """Whether a plain fetch may take it."""
        self.taken: bool = False


class EgressQueue:
    """The queue of one egress edge, with asyncio.Queue's interface.

    Its room is counted per trace: `maxsize` results of each trace, and as many untraced ones.
    """

    __slots__ = ("_egress", "_size", "maxsize", "untraced")

    def __init__(self, egress: Egress, maxsize: int) -> None:
        self._egress = egress
        self.maxsize: int = maxsize
        self._size = 0
        self.untraced: int = 0

    def qsize(self) -> int:
        return self._size

    def empty(self) -> bool:
        return not self._size

    def full(self) -> bool:
        return 0 < self.maxsize <= self._size

    def is_full(self, trace_id: str | None) -> bool:
        if self.maxsize <= 0:
            return False
        trace = self._egress.traces.get(trace_id)
        if trace is None:
            return trace_id is None and self.untraced >= self.maxsize
        if len(trace.results) < self.maxsize:
            return False
        return sum(result.queue is self for result in trace.results) >= self.maxsize

    async def wait_for_room(self, trace_id: str | None = None) -> None:
        while self.is_full(trace_id):
            trace = self._egress.traces.get(trace_id)
            if trace is None:
                await wait_in(self._egress.untraced_room)
            else:
                await trace.wait_for_room(lambda: not self.is_full(trace_id))

    def add(self, value: Any, trace_id: str | None, origin: Any = None) -> None:
        """Add a result. Of a cancelled trace nothing is kept."""
        egress = self._egress
        if trace_id is None:
            self.untraced += 1
            result = Result(value, None, self)
        else:
            trace = egress.traces.open(trace_id)
            if trace.cancelled:
                return
            trace.pending += 1
            result = Result(value, trace, self)
            trace.results.append(result)
        self._size += 1
        egress.arrived(result)

    async def put(self, value: Any) -> None:
        """Append, waiting for room."""
        await self.wait_for_room(trace_of(value))
        self.add(value, trace_of(value))

    def put_nowait(self, value: Any) -> None:
        """Append at once. Raises `asyncio.QueueFull`."""
        if self.is_full(trace_of(value)):
            raise asyncio.QueueFull
        self.add(value, trace_of(value))

    async def get(self) -> Any:
        """Take the oldest result of this edge that no scoped fetch has a claim to."""
        while (result := self._egress.take_listed([self])) is None:
            await self._egress.wait(of_some_edges=True)
        return result.value

    def get_nowait(self) -> Any:
        """The same at once. Raises `asyncio.QueueEmpty`."""
        result = self._egress.take_listed([self])
        if result is None:
            raise asyncio.QueueEmpty
        return result.value

    def left(self, result: Result) -> None:
        """A result of this edge was taken."""
        self._size -= 1
        if result.trace is None:
            self.untraced -= 1


class Egress:
    """All results that nobody fetched yet."""

    def __init__(self, traces: Traces) -> None:
        self.traces = traces
        self.unread: int = 0
        """How many results nobody fetched."""
        self.untraced_room: Waiters = deque()
        """Who waits for room for an untraced result."""
        self._listed: deque[Result] = deque()
        """What plain fetches take from, with results in between that scoped ones have taken."""
        self._gaps = 0
        self._readers: Waiters = deque()
        """Who takes any listed result, so that one is woken per result."""
        self._edge_readers: Waiters = deque()
        """Who wants a result of some edges, and has to look whether this is one."""
        self._room: Waiters = deque()

    def arrived(self, result: Result) -> None:
        """A result is there: for its trace's scoped fetch, or for any fetch."""
        self.unread += 1
        trace = result.trace
        if trace is None or not (trace.locked or trace.readers):
            self._list(result)
        elif trace.waiting_readers:
            wake(trace.waiting_readers)

    def _list(self, result: Result) -> None:
        result.listed = True
        self._listed.append(result)
        if self._readers:
            wake(self._readers)
        if self._edge_readers:
            wake_all(self._edge_readers)

    def list_leftovers(self, trace: Trace) -> None:
        """No scoped fetch has a claim to the trace's results any more."""
        for result in trace.results:
            if not result.listed:
                self._list(result)

    def take_scoped(self, trace: Trace) -> Result | None:
        """Take the oldest result of a trace; while it is locked, only of this round trip."""
        results = trace.results
        if not results:
            return None
        if trace.skipped < len(results):
            result = results.pop(trace.skipped)
        elif trace.locked:
            return None
        else:
            result = results.pop(0)
            trace.skipped -= 1
        result.taken = True
        if result.listed:
            self._gap()
        self._taken(result)
        return result

    def take_listed(self, queues: Sequence[EgressQueue] | None = None) -> Result | None:
        """Take the oldest result, of all or some edges, that no scoped fetch has a claim to."""
        if queues is not None:
            return self._take_of(queues)
        if not self._listed:
            return None
        result = self._listed.popleft()
        result.taken = True
        if self._gaps:
            self._trim()
        self._unlink(result)
        return result

    def _take_of(self, queues: Sequence[EgressQueue]) -> Result | None:
        for result in self._listed:
            if not result.taken and result.queue in queues:
                result.taken = True
                self._gap()
                self._unlink(result)
                return result
        return None

    def _unlink(self, result: Result) -> None:
        trace = result.trace
        if trace is not None:
            index = trace.results.index(result) if trace.results[0] is not result else 0
            del trace.results[index]
            if index < trace.skipped:
                trace.skipped -= 1
        self._taken(result)

    def _taken(self, result: Result) -> None:
        result.queue.left(result)
        self.unread -= 1
        if self._room:
            wake_all(self._room)
        if result.trace is not None:
            result.trace.finished()
        elif self.untraced_room:
            wake_all(self.untraced_room)

    def _gap(self) -> None:
        self._gaps += 1
        self._trim()
        if self._gaps > 64 and self._gaps * 2 > len(self._listed):
            self._listed = deque(result for result in self._listed if not result.taken)
            self._gaps = 0

    def _trim(self) -> None:
        """The first of the listed results is one that can be taken."""
        while self._listed and self._listed[0].taken:
            self._listed.popleft()
            self._gaps -= 1

    def drop(self, trace: Trace) -> int:
        """Remove every unread result of a trace, which counts them still; returns how many."""
        for result in trace.results:
            result.taken = True
            result.queue.left(result)
            self.unread -= 1
            if result.listed:
                self._gap()
        dropped = len(trace.results)
        trace.results.clear()
        trace.skipped = 0
        wake_all(self._room)
        return dropped

    async def wait(self, *, of_some_edges: bool = False) -> None:
        """Wait until a plain fetch may find something."""
        await wait_in(self._edge_readers if of_some_edges else self._readers)

    async def wait_for_room(self, has_room: Callable[[], bool]) -> None:
        """Wait until `has_room()`; asked again each time a result is taken."""
        while not has_room():
            await wait_in(self._room)

    def wake_readers(self) -> None:
        """Let every waiting plain fetch look again."""
        wake_all(self._readers)
        wake_all(self._edge_readers)
