"""The receiving side of a bad connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from penguiflow.durable.log import Backlog, Consumption, LogDelivery, Stored
from penguiflow.testing.bad_line import BadLine, Fault


class FaultyDelivery:
    """A delivery whose verbs may not reach the log."""

    def __init__(self, delivery: LogDelivery, line: BadLine) -> None:
        self.stored: Stored = delivery.stored
        self.num_delivered: int = delivery.num_delivered
        self._delivery = delivery
        self._line = line

    async def ack(self) -> None:
        await self._line.attempt(self._delivery.ack, Fault.LOST, Fault.UNKNOWN, Fault.LATE)

    async def nak(self, delay: float = 0.0) -> None:
        # Like a termination it is not confirmed: its loss shows when the lease ends.
        if self._line.draw(Fault.LOST) is None:
            await self._delivery.nak(delay)

    async def term(self, reason: str) -> None:
        if self._line.draw(Fault.LOST) is None:
            await self._delivery.term(reason)

    def in_progress(self) -> None:
        if self._line.draw(Fault.LOST) is None:
            self._delivery.in_progress()


class FaultyConsumption:
    """Hands deliveries on: most at once, some late, some to be handed out once more."""

    def __init__(self, deliver: Callable[[LogDelivery], None], line: BadLine) -> None:
        self._deliver = deliver
        self._line = line
        self._consumption: Consumption | None = None
        self._late: dict[asyncio.Task[None], LogDelivery] = {}
        self._repeats: set[asyncio.Task[None]] = set()
        self._is_stopped = False

    def follow(self, consumption: Consumption) -> None:
        """Belong to the consumption that feeds this one."""
        self._consumption = consumption

    def arrive(self, delivery: LogDelivery) -> None:
        """Take what the log hands over."""
        fault = self._line.draw(Fault.LATE, Fault.TWICE)
        if fault is Fault.LATE:
            task = _start(self._hand_over_late(delivery))
            self._late[task] = delivery
            task.add_done_callback(lambda task: self._late.pop(task, None))
            return
        self._hand_over(delivery)
        if fault is Fault.TWICE:
            task = _start(self._repeat(delivery))
            self._repeats.add(task)
            task.add_done_callback(self._repeats.discard)

    def release(self) -> None:
        if self._consumption is not None:
            self._consumption.release()

    def pause(self) -> None:
        if self._consumption is not None:
            self._consumption.pause()

    async def backlog(self) -> Backlog:
        if self._consumption is None:
            return Backlog(0, 0)
        return await self._consumption.backlog()

    async def stop(self) -> None:
        self._is_stopped = True
        if self._consumption is not None:
            await self._consumption.stop()
        late, self._late = self._late, {}
        for task in (*late, *self._repeats):
            task.cancel()
        await asyncio.gather(*late, *self._repeats, return_exceptions=True)
        for delivery in late.values():
            await delivery.nak()

    def _hand_over(self, delivery: LogDelivery) -> None:
        if not self._is_stopped:
            self._deliver(FaultyDelivery(delivery, self._line))

    async def _hand_over_late(self, delivery: LogDelivery) -> None:
        await self._line.wait()
        self._hand_over(delivery)

    async def _repeat(self, delivery: LogDelivery) -> None:
        # A nak behind the worker's back: the log counts the second delivery, and it takes a place
        # in somebody's window like every other one.
        await self._line.wait()
        await delivery.nak()


def _start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(work, name="fault")
