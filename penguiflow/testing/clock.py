"""Time that stands still until a test moves it."""

from __future__ import annotations

import asyncio
from typing import Any

from penguiflow.memory.loop import turn

_MAX_TURNS = 10_000
"""Turns of the loop after which something that never comes to rest is left to itself."""

_BLIND_TURNS = 100
"""Turns given on a loop that does not show what is ready to run."""


class VirtualClock:
    """A `Clock` for tests: leases and delays end when `advance` says so, in their order.

    Args:
        start: What `now` says at first, in seconds since the epoch.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: dict[int, tuple[float, asyncio.Future[None]]] = {}
        self._next_sleeper = 0

    @property
    def num_sleepers(self) -> int:
        """How many tasks wait for time to pass."""
        return len(self._sleepers)

    def now(self) -> float:
        return self._start + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        number, self._next_sleeper = self._next_sleeper, self._next_sleeper + 1
        self._sleepers[number] = (self._elapsed + seconds, woken)
        try:
            await woken
        finally:
            self._sleepers.pop(number, None)

    async def advance(self, seconds: float) -> None:
        """Let time pass: wake every sleeper that is due on the way, one after the other.

        Each sees the time it asked for, and everything it sets off comes to rest before the next
        one wakes. What waits for a thread, a socket or the real clock is not waited for.

        Raises:
            ValueError: time does not run backwards.
        """
        if seconds < 0:
            msg = f"time does not run backwards: {seconds}"
            raise ValueError(msg)
        target = self._elapsed + seconds
        await come_to_rest()
        while self._sleepers:
            # The number breaks ties: of two that are due together, the first to sleep wakes first.
            number = min(self._sleepers, key=lambda number: (self._sleepers[number][0], number))
            due, woken = self._sleepers[number]
            if due > target:
                break
            del self._sleepers[number]
            self._elapsed = max(self._elapsed, due)
            if not woken.done():
                woken.set_result(None)
            await come_to_rest()
        self._elapsed = target
        await come_to_rest()


async def come_to_rest() -> None:
    """Give way until nothing in the event loop is ready to run any more."""
    # asyncio has no public way to ask; a loop without this attribute gets a fixed number of turns.
    ready: Any = getattr(asyncio.get_running_loop(), "_ready", None)
    for count in range(_MAX_TURNS):
        await turn()
        if not ready and (ready is not None or count >= _BLIND_TURNS):
            return
