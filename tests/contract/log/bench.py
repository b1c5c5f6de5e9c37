"""The logs under test: how each is opened, how time passes on it, how it comes to rest."""

from __future__ import annotations

from typing import Any, Protocol

from penguiflow.clock import Clock
from penguiflow.durable.log import Log
from penguiflow.memory.log import MemoryLog
from penguiflow.testing import VirtualClock
from penguiflow.testing.clock import come_to_rest


class Bench(Protocol):
    """One log of one test, and its time."""

    lease: float
    """Seconds of a lease that are short enough to wait for and long enough to hold."""

    clock: Clock
    """The time that `pass_time` lets pass."""

    async def open(self, **limits: Any) -> Log:
        """A connection of its own to the log of this test. The first call sets the limits."""

    async def pass_time(self, seconds: float) -> None:
        """Let this much time pass on the log."""

    async def rest(self) -> None:
        """Wait until whatever was on its way has arrived."""

    async def delete_consumer(self, log: Log, name: str) -> None:
        """Remove a durable consumer behind the back of those who work on it."""

    async def close(self) -> None:
        """Close every connection."""


class MemoryBench:
    """The log in memory on a virtual clock."""

    lease = 10.0

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self._logs: list[MemoryLog] = []

    async def open(self, **limits: Any) -> MemoryLog:
        if self._logs:
            log = self._logs[0].connect()
        else:
            log = MemoryLog("tenant", "flow", clock=self.clock, **limits)
        self._logs.append(log)
        return log

    async def pass_time(self, seconds: float) -> None:
        await self.clock.advance(seconds)

    async def rest(self) -> None:
        await come_to_rest()

    async def delete_consumer(self, log: Log, name: str) -> None:
        assert isinstance(log, MemoryLog)
        assert await log.delete_consumer(name)

    async def close(self) -> None:
        for log in self._logs:
            await log.close()
