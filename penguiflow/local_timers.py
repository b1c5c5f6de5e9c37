"""What a local flow holds for later: messages that were emitted with a delay, and timeouts."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from penguiflow.clock import Clock
from penguiflow.memory.loop import Alarm

if TYPE_CHECKING:
    from penguiflow.traces import Trace

_MOST = 100_000
"""Timers that a flow keeps in memory."""


class _Timer:
    __slots__ = ("at", "messages", "ring", "trace")

    def __init__(
        self, at: float, ring: Callable[[], None], messages: int, trace: Trace | None
    ) -> None:
        self.at: float = at
        self.ring: Callable[[], None] | None = ring
        self.messages: int = messages
        self.trace: Trace | None = trace


class LocalTimers:
    """The timers of one flow, on its clock. While the flow is stopped none rings."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._alarm = Alarm(clock, self._ring)
        self._heap: list[tuple[float, int, _Timer]] = []
        self._number = itertools.count()
        self._running = False
        self.messages: int = 0
        """Messages that wait for their time."""

    def start(self) -> None:
        """Let ring what is due, from now on."""
        self._running = True
        self._arm()

    def stop(self) -> None:
        """Let nothing ring; what waits goes on waiting."""
        self._running = False
        self._alarm.cancel()

    def set(
        self,
        seconds: float,
        ring: Callable[[], None],
        *,
        messages: int = 0,
        trace: Trace | None = None,
    ) -> None:
        """Call `ring` after so many seconds.

        Args:
            seconds: How long.
            ring: Called in the event loop; must not block.
            messages: How many messages wait behind it.
            trace: The trace that counts these messages.

        Raises:
            ValueError: the seconds are no time from now on.
            asyncio.QueueFull: there are too many timers.
        """
        if not (math.isfinite(seconds) and seconds >= 0):
            msg = f"a delay of {seconds!r} s; it must be a number from 0 on"
            raise ValueError(msg)
        if len(self._heap) >= _MOST:
            raise asyncio.QueueFull
        timer = _Timer(self._clock.monotonic() + seconds, ring, messages, trace)
        heapq.heappush(self._heap, (timer.at, next(self._number), timer))
        self.messages += messages
        self._arm()

    def drop(self, trace: Trace) -> int:
        """Forget the messages of a trace; returns how many."""
        dropped = 0
        if not self.messages:
            return 0
        for _, _, timer in self._heap:
            if timer.trace is trace:
                dropped += timer.messages
                timer.ring, timer.trace, timer.messages = None, None, 0
        self.messages -= dropped
        return dropped

    def _arm(self) -> None:
        if self._running and self._heap:
            self._alarm.set(self._heap[0][0])

    def _ring(self) -> None:
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            self.messages -= timer.messages
            if timer.ring is not None:
                timer.ring()
        self._arm()
