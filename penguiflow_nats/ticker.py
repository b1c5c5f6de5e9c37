"""A timer that knows when the process was asleep."""

import asyncio
from collections.abc import Callable

INTERVAL = 0.1
"""Seconds between two ticks."""

_STALL = 3 * INTERVAL


class Ticker:
    """Calls a function about ten times a second, and says whether deadlines may be judged now.

    After a stall of this process, answers that came in time may lie unread in the socket. The first
    tick after it therefore only lets them be read.
    """

    def __init__(self, tick: Callable[[float, bool], None]) -> None:
        """Prepare; `start` begins.

        Args:
            tick: Called with the event loop's time in seconds, and whether to judge deadlines.
        """
        self._tick = tick
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._excused = False

    def start(self) -> None:
        """Begin."""
        self._due = self._loop.time() + INTERVAL
        self._timer = self._loop.call_at(self._due, self._run)

    def stop(self) -> None:
        """End. Again: no effect."""
        if self._timer is not None:
            self._timer.cancel()

    def _run(self) -> None:
        now = self._loop.time()
        # Once in a row only: a loop that is always late must still time out.
        self._excused = now - self._due > _STALL and not self._excused
        self.start()
        self._tick(now, not self._excused)
