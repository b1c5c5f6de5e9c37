"""What a local flow knows of each live trace. Nothing is kept of a trace that is over."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from penguiflow.floe import wait_in, wake
from penguiflow.invocation import Invocation

_OPEN_STREAMS = 10_000
"""Chunk streams that never said `done` and are remembered; the oldest is forgotten."""


class Trace:
    """A live trace: what is pending, what runs, whether it was cancelled."""

    __slots__ = (
        "buckets",
        "cancelled",
        "event",
        "pending",
        "room",
        "round_trip",
        "round_trip_waiters",
        "running",
        "scoped_readers",
        "streamed_hops",
        "trace_id",
        "unread",
    )

    def __init__(self, trace_id: str) -> None:
        self.trace_id = trace_id
        self.pending = 0
        """Messages queued, in work, or unread at the egress."""
        self.unread = 0
        """Results at the egress that nobody fetched."""
        self.running: dict[Invocation, None] = {}
        self.buckets: dict[Any, list[Any]] = {}
        """What join nodes have collected."""
        self.cancelled = False
        self.event: asyncio.Event | None = None
        self.round_trip = False
        """A scoped emit was made and its fetch is not done."""
        self.round_trip_waiters: deque[asyncio.Future[None]] = deque()
        self.scoped_readers = 0
        self.streamed_hops: int | None = None
        self.room: deque[asyncio.Future[None]] = deque()

    @property
    def subscribed(self) -> bool:
        """Whether its next result is kept for a scoped fetch."""
        return self.round_trip or self.scoped_readers > 0

    @property
    def idle(self) -> bool:
        """Whether nothing needs this object any more."""
        return not (
            self.pending
            or self.running
            or self.round_trip
            or self.scoped_readers
            or self.round_trip_waiters
            or self.room
            or any(self.buckets.values())
        )


class Traces:
    """The live traces of one flow."""

    def __init__(self) -> None:
        self._live: dict[str, Trace] = {}
        self._events: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        self._streams: OrderedDict[tuple[str, str], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._live)

    def get(self, trace_id: str | None) -> Trace | None:
        """The trace, when it is live."""
        return None if trace_id is None else self._live.get(trace_id)

    def open(self, trace_id: str) -> Trace:
        """The trace, live from now on."""
        trace = self._live.get(trace_id)
        if trace is None:
            trace = self._live[trace_id] = Trace(trace_id)
            trace.event = self._events.get(trace_id)
        return trace

    def live(self) -> list[Trace]:
        """All live traces."""
        return list(self._live.values())

    def added(self, trace_id: str | None) -> None:
        """A message of the trace was enqueued."""
        if trace_id is not None:
            self.open(trace_id).pending += 1

    def removed(self, trace_id: str | None, count: int = 1) -> Trace | None:
        """Messages of the trace were finished, dropped or fetched."""
        trace = self.get(trace_id)
        if trace is None:
            return None
        trace.pending = max(0, trace.pending - count)
        while trace.room and trace.room[0].done():
            trace.room.popleft()
        wake(trace.room)
        self.close_if_idle(trace)
        return trace

    def close_if_idle(self, trace: Trace) -> None:
        """Forget the trace when nothing of it is left."""
        if trace.idle and not trace.cancelled:
            self._live.pop(trace.trace_id, None)

    def forget(self, trace: Trace) -> None:
        """Forget a cancelled trace: its id is usable again."""
        trace.cancelled = False
        if self._live.get(trace.trace_id) is trace and not trace.pending:
            del self._live[trace.trace_id]
        self._events.pop(trace.trace_id, None)
        for key in [key for key in self._streams if key[0] == trace.trace_id]:
            del self._streams[key]

    def cancel_event(self, trace_id: str) -> asyncio.Event:
        """The event that a cancel of the trace sets; the same one while somebody holds it."""
        event = self._events.get(trace_id)
        if event is None:
            event = self._events[trace_id] = asyncio.Event()
            trace = self._live.get(trace_id)
            if trace is not None:
                trace.event = event
                if trace.cancelled:
                    event.set()
        return event

    async def wait_for_room(self, trace: Trace, has_room: Callable[[], bool]) -> None:
        """Wait until `has_room()`; asked again each time something of the trace is finished."""
        while not has_room():
            await wait_in(trace.room, has_room)
        wake(trace.room)

    def next_seq(self, trace_id: str, stream_id: str, seq: int | None, *, done: bool) -> int:
        """The number of a stream's next chunk: from 0, anew after `done`; explicit is a base."""
        key = (trace_id, stream_id)
        number = self._streams.get(key, 0) if seq is None else seq
        if done:
            self._streams.pop(key, None)
        else:
            self._streams[key] = number + 1
            self._streams.move_to_end(key)
            if len(self._streams) > _OPEN_STREAMS:
                self._streams.popitem(last=False)
        return number

    def has_stream(self, trace_id: str, stream_id: str) -> bool:
        """Whether the stream has begun and is not done."""
        return (trace_id, stream_id) in self._streams
