"""Who waits for which trace, and the hints that came in meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterator

from penguiflow.durable.log import Stored

_REMEMBERED = 10_000
"""Traces whose last hint is kept for a fetch that comes later."""


class Heard:
    """One waiter's view of a trace's hints."""

    __slots__ = ("_hint", "_waiter")

    def __init__(self, hint: Stored | None) -> None:
        self._hint = hint
        self._waiter: asyncio.Future[None] | None = None

    def take(self) -> Stored | None:
        """The hint that came since the last call, if any."""
        hint, self._hint = self._hint, None
        return hint

    def hear(self, hint: Stored) -> None:
        self._hint = hint
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, limit: float) -> Stored | None:
        """The next hint; None after `limit` seconds without one."""
        if self._hint is None:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(limit):
                    await self._waiter
            except TimeoutError:
                pass
            finally:
                self._waiter = None
        return self.take()


class Waiting:
    """All waiters of one client."""

    def __init__(self) -> None:
        self._waiters: dict[str, list[Heard]] = {}
        self._early: OrderedDict[str, Stored] = OrderedDict()

    def hear(self, trace: str, hint: Stored) -> None:
        """A hint came in."""
        waiters = self._waiters.get(trace)
        if waiters:
            for waiter in waiters:
                waiter.hear(hint)
            return
        self._early[trace] = hint
        if len(self._early) > _REMEMBERED:
            self._early.popitem(last=False)

    @contextlib.contextmanager
    def on(self, trace: str) -> Iterator[Heard]:
        """Wait for hints of a trace, from the one that came before on."""
        heard = Heard(self._early.pop(trace, None))
        self._waiters.setdefault(trace, []).append(heard)
        try:
            yield heard
        finally:
            waiters = self._waiters[trace]
            waiters.remove(heard)
            if not waiters:
                del self._waiters[trace]
