"""Inputs over which workers died run one at a time, so that the one that kills them is found.

A process takes down all that it has in hand, and all of it is delivered again at the same moment,
most likely to one worker again. So the innocent would die as often as the guilty, and be buried
with it. From a few deaths on an input is suspected: it runs while no other suspect runs in this
process, and a note says so before it begins. A death without such a note is not counted any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from penguiflow.clock import Clock

_SUSPECTED_AFTER = 3
_STEP, _LONGEST = 0.05, 2.0


def suspected_after(max_deliveries: int) -> int:
    """Deaths from which on an input is suspected, when so many of them bury it."""
    return max(1, min(_SUSPECTED_AFTER, max_deliveries - 1))


class Quarantine:
    """The place in a worker process where one suspect runs at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._place = asyncio.Lock()

    @asynccontextmanager
    async def alone(self, deaths: int) -> AsyncIterator[None]:
        """While no other suspect runs; those with fewer deaths go first."""
        await self._clock.sleep(min(_LONGEST, _STEP * deaths))
        async with self._place:
            yield
