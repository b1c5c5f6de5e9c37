"""Waits for room: a log that is full slows down who submits."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from penguiflow.clock import Clock
from penguiflow.durable.log import LogFull

T = TypeVar("T")

_FIRST, _LONGEST = 0.05, 2.0
"""Seconds between two tries, at first and at most."""


class Patience:
    """How long writes that find no room are tried again.

    Args:
        seconds: From the first try to the last.
        clock: Times them.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock

    async def write(self, write: Callable[[], Awaitable[T]]) -> T:
        """What the write gives.

        Raises:
            LogFull: there was no room for so long. Else as the write.
        """
        give_up, pause = self._clock.monotonic() + self._seconds, _FIRST
        while True:
            try:
                return await write()
            except LogFull:
                if self._clock.monotonic() + pause > give_up:
                    raise
            await self._clock.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load
            pause = min(_LONGEST, 2 * pause)


__all__ = ["Patience"]
