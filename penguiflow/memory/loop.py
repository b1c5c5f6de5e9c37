"""Two small tools over the event loop: giving way for one turn, and an alarm on any clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator

from penguiflow.clock import Clock


class _Turn:
    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield


def turn() -> _Turn:
    """Await it to let everything else that is ready run once."""
    return _Turn()


class Alarm:
    """Rings once at the earliest time asked for; at most one task sleeps at any time."""

    __slots__ = ("_at", "_clock", "_ring", "_task")

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._at = 0.0
        self._task: asyncio.Task[None] | None = None

    def set(self, at: float) -> None:
        """Ring at this time of the monotonic clock, or earlier: a ring too many does no harm, so
        an alarm that is already set for an earlier time stays."""
        if self._task is not None:
            if self._at <= at:
                return
            self._task.cancel()
        self._at = at
        self._task = asyncio.get_running_loop().create_task(self._sleep(), name="alarm")

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _sleep(self) -> None:
        await self._clock.sleep(self._at - self._clock.monotonic())
        # Cleared before the ring, which may set the next one.
        self._task = None
        self._ring()
