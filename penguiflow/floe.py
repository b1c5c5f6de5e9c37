"""The local edge: a bounded queue between two places of a flow, and the inbox of a node."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from penguiflow.endpoints import Endpoint
from penguiflow.node import Node
from penguiflow.types import Message


class Item:
    """A value on an edge, with the trace it belongs to and the attempts made on it."""

    __slots__ = ("attempt", "input_id", "trace_id", "value")

    def __init__(self, value: Any, trace_id: str | None, attempt: int = 0) -> None:
        self.value = value
        self.trace_id = trace_id
        self.attempt = attempt
        self.input_id: str | None = None


def trace_of(value: Any) -> str | None:
    """The trace id that a value carries itself; any object with a readable `trace_id` does."""
    if type(value) is Message:
        return value.trace_id
    try:
        trace_id = value.trace_id
    except Exception:  # noqa: BLE001 - not readable is not traced
        return None
    return cast("str | None", trace_id)


class EdgeQueue:
    """A bounded queue with asyncio.Queue's interface, that tells its reader of each arrival.

    `maxsize` of zero or less is unbounded. Waiting writers are served in order.
    """

    __slots__ = ("_arrived", "_getters", "_items", "_putters", "maxsize")

    def __init__(self, maxsize: int = 0, arrived: Callable[[bool], None] | None = None) -> None:
        self.maxsize = maxsize
        self._items: deque[Item] = deque()
        self._putters: deque[asyncio.Future[None]] = deque()
        self._getters: deque[asyncio.Future[None]] = deque()
        self._arrived = arrived

    def qsize(self) -> int:
        return len(self._items)

    def empty(self) -> bool:
        return not self._items

    def full(self) -> bool:
        return 0 < self.maxsize <= len(self._items)

    async def put(self, value: Any) -> None:
        """Append, waiting for room. A cancelled put has put nothing."""
        await self.wait_for_room()
        self.put_nowait(value)

    async def wait_for_room(self) -> None:
        """Wait until the queue is not full."""
        while self.full():
            await wait_in(self._putters, lambda: not self.full())

    def put_nowait(self, value: Any) -> None:
        """Append at once. Raises `asyncio.QueueFull`."""
        if self.full():
            raise asyncio.QueueFull
        self._items.append(value if type(value) is Item else Item(value, trace_of(value)))
        wake(self._getters)
        if self._arrived is not None:
            self._arrived(False)

    async def get(self) -> Any:
        """Take the first value, waiting for one."""
        while not self._items:
            await wait_in(self._getters, lambda: bool(self._items))
        return self.get_nowait()

    def get_nowait(self) -> Any:
        """Take the first value. Raises `asyncio.QueueEmpty`."""
        return self.take().value

    def take(self) -> Item:
        """Take the first item with its trace. Raises `asyncio.QueueEmpty`."""
        if not self._items:
            raise asyncio.QueueEmpty
        item = self._items.popleft()
        if self._putters:
            wake(self._putters)
        return item

    def take_first(self, wanted: Callable[[Item], bool]) -> Item | None:
        """Take the first item that is wanted, leaving those before it in place."""
        for index, item in enumerate(self._items):
            if wanted(item):
                del self._items[index]
                wake(self._putters)
                return item
        return None

    def put_back(self, item: Item) -> None:
        """Put an item in front, even when the queue is full: it had its place already."""
        self._items.appendleft(item)
        wake(self._getters)
        if self._arrived is not None:
            self._arrived(True)

    def drop(self, trace_id: str) -> int:
        """Remove every item of a trace; returns how many."""
        kept = [item for item in self._items if item.trace_id != trace_id]
        dropped = len(self._items) - len(kept)
        if dropped:
            self._items = deque(kept)
            for _ in range(dropped):
                wake(self._putters)
        return dropped


def wake(waiters: deque[asyncio.Future[None]]) -> None:
    while waiters:
        waiter = waiters.popleft()
        if not waiter.done():
            waiter.set_result(None)
            return


async def wait_in(waiters: deque[asyncio.Future[None]], ready: Callable[[], bool]) -> None:
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiters.append(waiter)
    try:
        await waiter
    except BaseException:
        waiter.cancel()
        if waiter in waiters:
            waiters.remove(waiter)
        if ready():  # the wake-up was ours and we cannot use it: pass it on
            wake(waiters)
        raise


class Floe:
    """An edge from `source` to `target`."""

    __slots__ = ("inbox", "maxsize", "queue", "source", "target")

    def __init__(self, source: Node | Endpoint, target: Node | Endpoint, *, maxsize: int) -> None:
        self.source = source
        self.target = target
        self.maxsize = maxsize
        self.inbox: Inbox | None = None
        self.queue: Any = EdgeQueue(maxsize, self._on_arrival)

    def _on_arrival(self, first: bool) -> None:
        if self.inbox is not None:
            self.inbox.arrived(self, first=first)


class Inbox:
    """What waits for one node, over all its incoming edges, in order of arrival.

    Messages of a trace that is on hold (its earlier message is in back-off, or is still being
    worked on) are passed over and keep their place, so the order within a trace is kept.
    """

    __slots__ = ("_arrivals", "_held", "_waiters", "floes")

    def __init__(self) -> None:
        self.floes: list[Floe] = []
        self._arrivals: deque[Floe] = deque()
        self._held: dict[str | None, int] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()

    def connect(self, floe: Floe) -> None:
        """Read from this edge as well."""
        floe.inbox = self
        self.floes.append(floe)
        self._arrivals.extend(floe for _ in range(floe.queue.qsize()))

    def arrived(self, floe: Floe, *, first: bool = False) -> None:
        """A value was put on the edge, or back in front of it."""
        if first:
            self._arrivals.appendleft(floe)
        else:
            self._arrivals.append(floe)
        if self._waiters:
            wake(self._waiters)

    def depth(self) -> int:
        """Messages waiting."""
        return sum(floe.queue.qsize() for floe in self.floes)

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
        wake(self._waiters)

    def take(self) -> tuple[Floe, Item] | None:
        """The next message and its edge, or None when nothing can be worked on now."""
        if self._held:
            return self._take_free()
        while self._arrivals:
            floe = self._arrivals.popleft()
            if not floe.queue.empty():
                return floe, floe.queue.take()
        return None

    def _take_free(self) -> tuple[Floe, Item] | None:
        seen: set[Floe] = set()
        for index, floe in enumerate(self._arrivals):
            if floe in seen:
                continue
            seen.add(floe)
            item = floe.queue.take_first(lambda item: item.trace_id not in self._held)
            if item is not None:
                del self._arrivals[index]
                return floe, item
        if self._arrivals and self.depth() == 0:
            self._arrivals.clear()
        return None

    async def wait(self) -> None:
        """Wait until `take` may find something."""
        await wait_in(self._waiters, lambda: True)
