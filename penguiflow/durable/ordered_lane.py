"""A lane whose node keeps the order of a key."""

from __future__ import annotations

import asyncio
from typing import Any

from penguiflow.decide import Outcome, Settlement
from penguiflow.durable.claims import claimed_size
from penguiflow.durable.dead_letters import Reason
from penguiflow.durable.delivery import DurableDelivery
from penguiflow.durable.host import DurableHost
from penguiflow.durable.lane import Lane
from penguiflow.durable.log import LogDelivery
from penguiflow.durable.turns import NotYet, Turns
from penguiflow.node import Node
from penguiflow.settle import settle, settle_entry

AHEAD = 512
"""Inputs that a worker takes at least, so that one key's do not keep it from the others'."""


def window_of(slots: int) -> int:
    """How many inputs a worker takes that runs so many at once."""
    return max(AHEAD, 2 * slots)


class OrderedLane(Lane):
    """As a lane, but an input runs when no earlier one of its key is open."""

    def __init__(self, node: Node, host: DurableHost, *, turns: Turns, slots: int, **options: Any):
        super().__init__(node, host, **options)
        self.turns = turns
        # What waits for its turn takes none.
        self._slots = asyncio.Semaphore(slots)
        self.window: int = window_of(slots)

    async def begin(self) -> None:
        """Get ready to take deliveries. Raises `LogError`."""
        await self.turns.start()

    def deliver(self, delivery: LogDelivery) -> None:
        super().deliver(self.turns.watched(delivery))

    def _closed(self, entry: LogDelivery, delivery: DurableDelivery | None) -> None:
        if delivery not in self._waiting:
            self.turns.left(entry.stored.sequence)

    async def _take(self, delivery: DurableDelivery, task: asyncio.Task[Any]) -> None:
        try:
            key = self.turns.key_of(delivery.value)
            hash(key)
        except Exception as problem:  # noqa: BLE001 - whatever the user's function raises
            detail = f"order_by of node {self.name!r} raised {problem!r}"
            await self._bury_input(delivery, Reason.FAILED, detail)
            return
        size = claimed_size(delivery.envelope.outputs[0])
        if size:  # who waits must not keep the one before from being read
            delivery.value = None
            self._claims.release(delivery)
        entry = delivery.log_delivery.stored
        try:
            waited = await self.turns.wait(entry, key)
        except (NotYet, asyncio.CancelledError) as end:
            # Long enough for the log: a short one would be waited for here.
            delay = 0.0 if not isinstance(end, NotYet) else 2 * self._lease
            delay = 0.0 if self.turns.is_closed else delay
            await settle(delivery, Outcome(Settlement.HAND_BACK, delay=delay))
            if isinstance(end, asyncio.CancelledError):
                raise
            return
        if waited and await self._host.log.get(entry.key) is None:
            await settle_entry(delivery.log_delivery)  # cancelled or removed meanwhile
            return
        if size:
            await self._claims.hold(delivery, size)
            output = await self._claims.output(delivery.envelope.outputs[0])
            delivery.value = self._codec.unpack_output(output)
        async with self._slots:
            # Of a delivery that came again, the first may have ended meanwhile: then the next
            # input of the key has its turn, and this one must not run after it.
            if delivery.log_delivery.num_delivered == 1 or not await self._answered(delivery):
                await self._run(delivery, task)

    async def _resumed(self, delivery: DurableDelivery) -> None:
        """Its turn has not ended: what comes after it is waiting still."""
        async with self._slots:
            await super()._resumed(delivery)

    async def finish(self, limit: float) -> int:
        await self.turns.close()
        return await super().finish(limit)


__all__ = ["AHEAD", "OrderedLane", "window_of"]
