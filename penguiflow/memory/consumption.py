"""One worker's pull of a consumer, and the deliveries it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from penguiflow.durable.log import Backlog, LogDelivery, LogUnavailable, Stored
from penguiflow.memory.loop import turn


class Line:
    """A connection to the log, as far as it can break."""

    __slots__ = ("is_up",)

    def __init__(self) -> None:
        self.is_up: bool = True

    def check(self) -> None:
        """Raises:
        LogUnavailable: the connection is closed, or its worker was killed.
        """
        if not self.is_up:
            msg = "the connection is closed"
            raise LogUnavailable(msg)


class Owner(Protocol):
    """The consumer, as its consumptions and deliveries see it."""

    def settle(self, sequence: int) -> None: ...

    def hand_back(self, sequence: int, delay: float) -> None: ...

    def renew(self, sequence: int) -> None: ...

    def wake(self) -> None: ...

    def leave(self, consumption: MemoryConsumption) -> None: ...

    def backlog(self) -> Backlog: ...


class MemoryDelivery:
    """One entry in one worker's hand.

    It keeps no state of its own: as with a server, each verb says something about the entry, and
    the consumer decides what it still changes. Only the ack is confirmed; the other verbs of a
    worker without a connection are lost, and the lease runs out.
    """

    __slots__ = ("_line", "_owner", "num_delivered", "stored")

    def __init__(self, stored: Stored, num_delivered: int, owner: Owner, line: Line) -> None:
        self.stored: Stored = stored
        self.num_delivered: int = num_delivered
        self._owner = owner
        self._line = line

    async def ack(self) -> None:
        self._line.check()
        self._owner.settle(self.stored.sequence)
        await turn()

    async def nak(self, delay: float = 0.0) -> None:
        self.hand_back(delay)
        await turn()

    async def term(self, reason: str) -> None:
        if self._line.is_up:
            self._owner.settle(self.stored.sequence)
        await turn()

    def in_progress(self) -> None:
        if self._line.is_up:
            self._owner.renew(self.stored.sequence)

    def hand_back(self, delay: float = 0.0) -> None:
        """What `nak` does, for a delivery that no worker has seen yet."""
        if self._line.is_up:
            self._owner.hand_back(self.stored.sequence, delay)


class MemoryConsumption:
    """At most `window` deliveries on their way or in hand."""

    def __init__(
        self,
        owner: Owner,
        line: Line,
        deliver: Callable[[LogDelivery], None],
        *,
        window: int,
        on_gone: Callable[[str], Any],
    ) -> None:
        self.line = line
        self._owner = owner
        self._deliver = deliver
        self._window = window
        self._on_gone = on_gone
        self._held = 0
        self._is_asking = True
        self.is_stopped: bool = False
        """Whether this consumption is over."""

    @property
    def has_room(self) -> bool:
        return self._is_asking and self._held < self._window

    def release(self) -> None:
        if self._held > 0:
            self._held -= 1
            self._owner.wake()

    def pause(self) -> None:
        self._is_asking = False

    async def stop(self) -> None:
        self.end()
        await turn()

    async def backlog(self) -> Backlog:
        self.line.check()
        await turn()
        return self._owner.backlog()

    def end(self) -> None:
        """Stop without waiting. A worker that dies ends so, and hands nothing back."""
        self._is_asking = False
        self.is_stopped = True
        self._owner.leave(self)

    def gone(self, reason: str) -> None:
        """The consumer vanished under this consumption."""
        self._is_asking = False
        asyncio.get_running_loop().call_soon(self._on_gone, reason)

    def take(self, delivery: MemoryDelivery) -> None:
        """An entry is on its way; the worker sees it in a turn of its own."""
        self._held += 1
        asyncio.get_running_loop().call_soon(self._arrive, delivery)

    def _arrive(self, delivery: MemoryDelivery) -> None:
        if not self.is_stopped:
            self._deliver(delivery)
        else:
            delivery.hand_back()
