"""A connection that goes wrong: which fault comes next, and what it does to a call.

The faults are seeded, so that a failing run can be repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from enum import StrEnum
from random import Random
from typing import TypeVar

from penguiflow.clock import Clock
from penguiflow.durable.log import LogError, LogUnavailable
from penguiflow.memory.loop import turn

T = TypeVar("T")


class Fault(StrEnum):
    """What can go wrong on the way to a log and back."""

    LOST = "lost"
    """The call never reached the log."""
    UNKNOWN = "unknown"
    """The call took effect, its answer was lost."""
    LATE = "late"
    """It arrives after a delay."""
    TWICE = "twice"
    """The delivery is handed out once more while its worker is still busy with it."""


class BadLine:
    """Draws faults and makes calls with them.

    Args:
        seed: The same seed draws the same faults, as long as the calls come in the same order.
        rate: The share of calls that fail, from 0 to 1.
        clock: Times the delays.
        longest_delay: Upper bound of a delay in seconds.
    """

    def __init__(self, seed: int, *, rate: float, clock: Clock, longest_delay: float) -> None:
        if not 0 <= rate <= 1:
            msg = f"rate must be between 0 and 1: {rate}"
            raise ValueError(msg)
        self.rate = rate
        self.faults: Counter[Fault] = Counter()
        """How often each fault was drawn."""
        self._clock = clock
        self._longest_delay = longest_delay
        self._random = Random(seed)  # noqa: S311 (chooses faults, guards nothing)

    def draw(self, *possible: Fault) -> Fault | None:
        """One of the possible faults, or (mostly) None."""
        if self._random.random() >= self.rate:
            return None
        fault = self._random.choice(possible)
        self.faults[fault] += 1
        return fault

    async def wait(self) -> None:
        """Take as long as something late takes."""
        await self._clock.sleep(self._random.uniform(0, self._longest_delay))

    async def attempt(self, call: Callable[[], Awaitable[T]], *possible: Fault) -> T:
        """Make the call, perhaps with one of the possible faults.

        Raises:
            LogUnavailable: the call was lost, or its answer was.
        """
        fault = self.draw(*possible)
        if fault is Fault.LOST:
            await turn()
            raise LogUnavailable(fault)
        if fault is Fault.LATE:
            await self.wait()
        if fault is not Fault.UNKNOWN:
            return await call()
        try:
            await call()
        except LogError as error:
            raise LogUnavailable(fault) from error
        raise LogUnavailable(fault)
