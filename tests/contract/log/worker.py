"""What the contract needs of a worker: it holds what it is handed until the test says otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from penguiflow.durable.log import ConsumerSpec, Consumption, Kind, Log, LogDelivery, Pattern

PATIENCE = 20.0
"""Real seconds until a test gives up; nothing is measured with it."""

INGRESS = (Pattern(kind=Kind.INGRESS),)


class Worker:
    """One consumption, its deliveries in the order of arrival, and the window as it sees it."""

    def __init__(self) -> None:
        self.arrived: list[LogDelivery] = []
        self.gone: list[str] = []
        self.held = 0
        self.most_held = 0
        self._unread: asyncio.Queue[LogDelivery] = asyncio.Queue()
        self._consumption: Consumption | None = None

    @classmethod
    async def start(
        cls,
        log: Log,
        name: str = "work",
        *,
        lease: float,
        patterns: Sequence[Pattern] = INGRESS,
        window: int = 100,
        max_ack_pending: int = 1000,
    ) -> Worker:
        worker = cls()
        spec = ConsumerSpec(name, patterns, lease=lease, max_ack_pending=max_ack_pending)
        worker._consumption = await log.consume(
            spec, worker._deliver, window=window, on_gone=worker.gone.append
        )
        return worker

    @property
    def consumption(self) -> Consumption:
        assert self._consumption is not None
        return self._consumption

    @property
    def inputs(self) -> list[str]:
        """The input part of every key that arrived, in the order of arrival."""
        return [delivery.stored.key.input for delivery in self.arrived]

    async def next(self) -> LogDelivery:
        """The next delivery that the test has not looked at."""
        return await asyncio.wait_for(self._unread.get(), PATIENCE)

    async def take(self, count: int) -> list[LogDelivery]:
        return [await self.next() for _ in range(count)]

    async def finish(self, delivery: LogDelivery) -> None:
        """Ack and give the place in the window back."""
        await delivery.ack()
        self.release()

    def release(self) -> None:
        self.held -= 1
        self.consumption.release()

    async def stop(self) -> None:
        await self.consumption.stop()

    def _deliver(self, delivery: LogDelivery) -> None:
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        self.arrived.append(delivery)
        self._unread.put_nowait(delivery)
