"""The local edge: a bounded queue between two places of a flow, and the inbox of a node."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, cast

from penguiflow.endpoints import Endpoint
from penguiflow.node import Node
from penguiflow.types import Message
from penguiflow.waiters import Waiters, wait_in, wake, wake_all

if TYPE_CHECKING:
    from penguiflow.traces import Trace, Traces


class Item:
    """A message on a local edge, and the delivery of it to the node that reads the edge."""

    __slots__ = ("_input_id", "attempt", "origin", "queue", "span", "trace", "trace_id", "value")

    def __init__(
        self,
        value: Any,
        trace_id: str | None,
        trace: Trace | None,
        queue: EdgeQueue,
        origin: Any = None,
    ) -> None:
        self.value: Any = value
        self.trace_id: str | None = trace_id
        self.trace: Trace | None = trace
        """The live trace that counts this item; None on an edge outside a flow."""
        self.queue: EdgeQueue = queue
        self.attempt: int = 0
        self.origin: Any = origin
        """What the instrument made of the run or emit that sent it."""
        self.span: Any
        self._input_id: str | None = None

    @property
    def input_id(self) -> str:
        """The same for every attempt on this message."""
        if self._input_id is None:
            self._input_id = secrets.token_hex(16)
        return self._input_id

    def finish(self) -> None:
        """It is worked off, or taken out of the flow: its trace counts it no more."""
        if self.trace is not None:
            self.trace.finished()

    async def ack(self) -> None:
        if self.trace is not None:
            self.trace.finished()

    async def nak(self, delay: float = 0.0, *, attempted: bool = True) -> None:
        if attempted:
            self.attempt += 1
        self.queue.inbox.deliver_again(self, delay)

    async def term(self, reason: str) -> None:
        self.finish()


def trace_of(value: Any) -> str | None:
    """The trace id that a value carries itself; any object with a readable `trace_id` does."""
    if type(value) is Message:
        return value.trace_id
    try:
        trace_id = value.trace_id
    except Exception:  # noqa: BLE001 - not readable is not traced
        return None
    return cast("str | None", trace_id)


class Queue(Protocol):
    """The queue of an edge, as the flow uses it."""

    def qsize(self) -> int:
        """How many values wait."""

    def is_full(self, trace_id: str | None) -> bool:
        """Whether a value of this trace has to wait for room."""

    async def wait_for_room(self, trace_id: str | None) -> None:
        """Wait until a value of this trace has room."""

    def add(self, value: Any, trace_id: str | None, origin: Any = None) -> None:
        """Put a value on the edge, room or not, and count it for its trace; `origin` is what the
        instrument made of the run or emit that sends it."""


class EdgeQueue:
    """A bounded queue with asyncio.Queue's interface; what waits lies in its reader's inbox.

    `maxsize` of zero or less is unbounded. Waiting writers are served in order.
    """

    __slots__ = ("_putters", "_size", "inbox", "maxsize")

    def __init__(self, maxsize: int = 0, inbox: Inbox | None = None) -> None:
        self.maxsize: int = maxsize
        self.inbox: Inbox = inbox if inbox is not None else Inbox(None)
        self._size = 0
        self._putters: Waiters = deque()

    def qsize(self) -> int:
        return self._size

    def empty(self) -> bool:
        return not self._size

    def full(self) -> bool:
        return 0 < self.maxsize <= self._size

    def is_full(self, trace_id: str | None) -> bool:
        return 0 < self.maxsize <= self._size

    async def wait_for_room(self, trace_id: str | None = None) -> None:
        while self.full():
            await wait_in(self._putters)

    def add(self, value: Any, trace_id: str | None, origin: Any = None) -> None:
        inbox = self.inbox
        trace = None
        if trace_id is not None and inbox.traces is not None:
            trace = inbox.traces.open(trace_id)
            trace.pending += 1
        self._size += 1
        inbox.items.append(Item(value, trace_id, trace, self, origin))
        if inbox.workers:
            wake(inbox.workers)
        if inbox.readers:
            wake_all(inbox.readers)

    async def put(self, value: Any) -> None:
        """Append, waiting for room. A cancelled put has put nothing."""
        await self.wait_for_room()
        self.add(value, trace_of(value))

    def put_nowait(self, value: Any) -> None:
        """Append at once. Raises `asyncio.QueueFull`."""
        if self.full():
            raise asyncio.QueueFull
        self.add(value, trace_of(value))

    async def get(self) -> Any:
        """Take the first value, waiting for one."""
        while not self._size:
            await self.inbox.wait_to_read()
        return self.get_nowait()

    def get_nowait(self) -> Any:
        """Take the first value. Raises `asyncio.QueueEmpty`."""
        item = self.take()
        item.finish()
        return item.value

    def take(self) -> Item:
        """Take the first item out of the inbox; its trace still counts it."""
        if self._size:
            for item in self.inbox.items:
                if item.queue is self:
                    self.inbox.remove(item)
                    return item
        raise asyncio.QueueEmpty

    def taken(self) -> None:
        """An item of this queue left the inbox: there is room."""
        self._size -= 1
        if self._putters:
            wake(self._putters)

    def put_back(self, item: Item) -> None:
        """Put an item in front, even when the queue is full: it had its place already."""
        self._size += 1
        self.inbox.items.appendleft(item)
        wake(self.inbox.workers)
        wake_all(self.inbox.readers)


class Floe:
    """An edge from `source` to `target`."""

    __slots__ = ("maxsize", "queue", "source", "target")

    def __init__(
        self,
        source: Node | Endpoint,
        target: Node | Endpoint,
        *,
        maxsize: int,
        queue: Any = None,
    ) -> None:
        self.source: Node | Endpoint = source
        self.target: Node | Endpoint = target
        self.maxsize: int = maxsize
        self.queue: Any = queue if queue is not None else EdgeQueue(maxsize)


class Redelivers(Protocol):
    """Puts an item back after a while."""

    def __call__(self, item: Item, delay: float) -> None: ...


class Inbox:
    """What waits for one node, over all its incoming edges, in order of arrival.

    Messages of a trace that is on hold (its earlier message is in back-off, or is still being
    worked on) are passed over and keep their place, so the order within a trace is kept.
    """

    __slots__ = ("_held", "deliver_again", "floes", "items", "readers", "traces", "workers")

    def __init__(self, traces: Traces | None) -> None:
        self.traces: Traces | None = traces
        self.floes: list[Floe] = []
        self.items: deque[Item] = deque()
        self.workers: Waiters = deque()
        """The node's own tasks. Any of them can take any item, so one is woken per item."""
        self.readers: Waiters = deque()
        """Who waits for items of one edge only, and has to look whether this is one."""
        self.deliver_again: Redelivers = _at_once
        self._held: dict[str | None, int] = {}

    def connect(self, source: Node | Endpoint, target: Node, maxsize: int) -> Floe:
        """A new edge that this inbox reads."""
        floe = Floe(source, target, maxsize=maxsize, queue=EdgeQueue(maxsize, self))
        self.floes.append(floe)
        return floe

    def hold(self, trace_id: str | None) -> None:
        """Pass over this trace's messages until `free` was called as often."""
        self._held[trace_id] = self._held.get(trace_id, 0) + 1

    def free(self, trace_id: str | None) -> None:
        """End one hold of the trace."""
        left = self._held.get(trace_id, 0) - 1
        if left > 0:
            self._held[trace_id] = left
            return
        self._held.pop(trace_id, None)
        wake(self.workers)

    def take(self) -> Item | None:
        """The next item that can be worked on, or None when there is none now."""
        if self._held:
            return self._take_free()
        if not self.items:
            return None
        item = self.items.popleft()
        item.queue.taken()
        return item

    def _take_free(self) -> Item | None:
        for item in self.items:
            if item.trace_id not in self._held:
                self.remove(item)
                return item
        return None

    def remove(self, item: Item) -> None:
        """Take this item out, wherever it stands."""
        self.items.remove(item)
        item.queue.taken()

    def drop(self, trace_id: str) -> list[Item]:
        """Remove and return every item of a trace."""
        dropped = [item for item in self.items if item.trace_id == trace_id]
        if dropped:
            kept = [item for item in self.items if item.trace_id != trace_id]
            self.items.clear()
            self.items.extend(kept)
            for item in dropped:
                item.queue.taken()
        return dropped

    async def wait_to_read(self) -> None:
        """Wait until there is something new in here, for whoever wants some of it only."""
        await wait_in(self.readers)


def _at_once(item: Item, delay: float) -> None:
    item.queue.put_back(item)
