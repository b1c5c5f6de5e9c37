"""What a local flow knows of each live trace. Nothing is kept of a trace that is over."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal
from weakref import WeakValueDictionary

from penguiflow.invocation import Invocation
from penguiflow.join import Bucket
from penguiflow.waiters import Waiters, wait_in, wake_all

if TYPE_CHECKING:
    from penguiflow.egress import Result

_OPEN_STREAMS = 10_000
"""Traces whose chunk streams never said `done` and are remembered; the oldest is forgotten."""

_KEPT_EVENTS = 1024
"""Cancel events that are kept although nobody holds them; the oldest goes first."""

_IDLE_JOINS = 10_000
"""Traces of which nothing is left but an incomplete join; the oldest is forgotten."""


class Trace:
    """A live trace: what is pending, what runs, who waits for it.

    An object lives until its trace is over, or its cancel is finished; the id's next use makes a
    new one. There is one per trace, so the rarely needed collections are made late.
    """

    __slots__ = (
        "_traces",
        "buckets",
        "cancelled",
        "event",
        "lock_waiters",
        "locked",
        "pending",
        "readers",
        "results",
        "room",
        "runs",
        "skipped",
        "streamed_hops",
        "trace_id",
        "waiting_readers",
    )

    def __init__(self, trace_id: str, traces: Traces) -> None:
        self.trace_id: str = trace_id
        self._traces = traces
        self.pending: int = 0
        """Messages queued, in work, or unread at the egress."""
        self.runs: list[Invocation] = []
        self.results: list[Result] = []
        """What nobody fetched yet, in order of arrival."""
        self.skipped: int = 0
        """How many of the first results are left over from an earlier round trip."""
        self.readers: int = 0
        """Who waits for its results by its id, or has subscribed to them."""
        self.locked: bool = False
        """A scoped emit was made and its fetch is not done."""
        self.cancelled: bool = False
        self.streamed_hops: int | None = None
        self.event: asyncio.Event | None = None
        self.buckets: dict[Any, Bucket] | None = None
        """What join nodes have collected."""
        self.waiting_readers: Waiters | None = None
        self.lock_waiters: Waiters | None = None
        self.room: Waiters | None = None
        """Who waits for something of this trace to be finished or fetched."""

    @property
    def claimed(self) -> bool:
        """Whether its next result is kept for a scoped fetch."""
        return self.locked or self.readers > 0

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is queued, in work, unread, or collected by a join."""
        waits = self.buckets is not None and any(self.buckets.values())
        return not (self.pending or self.runs or waits)

    def finished(self) -> None:
        """A message of it was worked off, dropped or fetched."""
        self.pending -= 1
        if self.room:
            wake_all(self.room)
        if not self.pending and not self.runs:
            self._traces.settle(self)

    def dropped(self, count: int) -> None:
        """Messages of it, which is cancelled, were dropped."""
        self.pending -= count
        if self.room:
            wake_all(self.room)

    async def wait_for_room(self, has_room: Callable[[], bool]) -> None:
        """Wait until `has_room()`; asked again each time something of it is finished."""
        if self.room is None:
            self.room = deque()
        while not has_room():
            await wait_in(self.room)

    def bucket(self, owner: Any) -> Bucket:
        """What a join node has collected of it."""
        if self.buckets is None:
            self.buckets = {}
        return self.buckets.setdefault(owner, Bucket())


class CancelEvent(asyncio.Event):
    """An `asyncio.Event` that is small until somebody waits for it: most traces are not cancelled,
    and the queue of its waiters is the largest part of what a live trace holds."""

    _NOBODY: Final[deque[asyncio.Future[Any]]] = deque(maxlen=0)

    def __init__(self) -> None:
        self._waiters = self._NOBODY
        self._value = False

    async def wait(self) -> Literal[True]:
        if self._waiters is self._NOBODY:
            self._waiters = deque()
        return await super().wait()


class Traces:
    """The live traces of one flow."""

    def __init__(self) -> None:
        self._live: dict[str, Trace] = {}
        self._events: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        self._last_events: OrderedDict[str, asyncio.Event] = OrderedDict()
        self._streams: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._idle_joins: OrderedDict[str, None] = OrderedDict()
        self.on_unlock: Callable[[Trace], None] = _nothing
        """Told when a round trip ends because nothing of its trace is left."""
        self.idle_callbacks: list[Callable[[str], None]] = []
        """Told of a trace when nothing of it is queued, in work or unread."""

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Trace]:
        return iter(list(self._live.values()))

    def get(self, trace_id: str | None) -> Trace | None:
        """The trace, when it is live."""
        return self._live.get(trace_id) if trace_id is not None else None

    def open(self, trace_id: str) -> Trace:
        """The trace, live from now on."""
        trace = self._live.get(trace_id)
        if trace is None:
            trace = self._live[trace_id] = Trace(trace_id, self)
            if self._events:
                trace.event = self._events.get(trace_id)
        return trace

    def is_cancelled(self, trace_id: str | None) -> bool:
        """Whether the trace was cancelled and is not over yet."""
        trace = self.get(trace_id)
        return trace is not None and trace.cancelled

    def settle(self, trace: Trace) -> None:
        """Forget the trace if nothing of it is left. A cancelled one is forgotten otherwise."""
        if trace.pending or trace.runs or trace.cancelled:
            return
        for callback in self.idle_callbacks:
            callback(trace.trace_id)
        if trace.readers:
            if trace.waiting_readers:
                wake_all(trace.waiting_readers)  # who wants to know that nothing comes any more
            return
        if trace.locked:
            self.on_unlock(trace)
        if trace.lock_waiters or trace.room:
            return
        if trace.buckets is not None and any(trace.buckets.values()):
            self._idle_joins[trace.trace_id] = None
            self._idle_joins.move_to_end(trace.trace_id)
            if len(self._idle_joins) <= _IDLE_JOINS:
                return
            oldest = self._live.get(self._idle_joins.popitem(last=False)[0])
            if oldest is None or oldest.pending or oldest.runs:
                return
            trace = oldest
        self._remove(trace)

    def _remove(self, trace: Trace) -> None:
        if self._live.get(trace.trace_id) is trace:
            del self._live[trace.trace_id]
            if trace.event is not None and not trace.cancelled:
                self._keep(trace.trace_id, trace.event)
        if self._idle_joins:
            self._idle_joins.pop(trace.trace_id, None)

    def forget(self, trace: Trace) -> bool:
        """Forget a cancelled trace, so that its id is usable again; False when it is already."""
        if self._live.get(trace.trace_id) is not trace:
            return False
        self._remove(trace)
        self._events.pop(trace.trace_id, None)
        self._last_events.pop(trace.trace_id, None)
        self._streams.pop(trace.trace_id, None)
        return True

    def cancel_event(self, trace_id: str) -> asyncio.Event:
        """The event that a cancel of the trace sets.

        It is the same one while somebody holds it, and for the last traces asked for: whoever sets
        it by hand may let go of it.
        """
        trace = self._live.get(trace_id)
        event = trace.event if trace is not None else self._events.get(trace_id)
        if event is not None:
            return event
        event = CancelEvent()
        if trace is None:
            self._keep(trace_id, event)
            return event
        trace.event = event
        if trace.cancelled:
            event.set()
        return event

    def _keep(self, trace_id: str, event: asyncio.Event) -> None:
        """Its trace is not live: give the same one out while somebody holds it, or a while."""
        self._events[trace_id] = self._last_events[trace_id] = event
        self._last_events.move_to_end(trace_id)
        if len(self._last_events) > _KEPT_EVENTS:
            self._last_events.popitem(last=False)

    def next_seq(self, trace_id: str, stream_id: str, seq: int | None, *, done: bool) -> int:
        """The number of a stream's next chunk: from 0, anew after `done`; explicit is a base."""
        streams = self._streams.get(trace_id)
        if streams is None:
            streams = self._streams[trace_id] = {}
            if len(self._streams) > _OPEN_STREAMS:
                self._streams.popitem(last=False)
        number = streams.get(stream_id, 0) if seq is None else seq
        if done:
            streams.pop(stream_id, None)
            if not streams:
                del self._streams[trace_id]
        else:
            streams[stream_id] = number + 1
            self._streams.move_to_end(trace_id)
        return number

    def has_stream(self, trace_id: str, stream_id: str) -> bool:
        """Whether the stream has begun and is not done."""
        streams = self._streams.get(trace_id)
        return streams is not None and stream_id in streams


def _nothing(trace: Trace) -> None:
    """Nobody is interested."""
