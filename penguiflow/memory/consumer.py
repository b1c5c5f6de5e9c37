"""A durable consumer of a memory log: shared by name, handed out in turns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from penguiflow.clock import Clock
from penguiflow.durable.log import Backlog, ConsumerSpec, LogError, Stored
from penguiflow.memory.consumption import MemoryConsumption, MemoryDelivery
from penguiflow.memory.ledger import Ledger
from penguiflow.memory.loop import Alarm
from penguiflow.memory.matching import matches_any

_BATCH = 256
"""Entries handed out before the loop gets its turn again."""


class MemoryConsumer:
    """What is owed (`Ledger`), who asks for it (the consumptions), and the hand between them."""

    def __init__(
        self, spec: ConsumerSpec, entry_at: Callable[[int], Stored | None], clock: Clock
    ) -> None:
        self.spec = spec
        self.ledger: Ledger = Ledger(spec.lease, spec.max_ack_pending)
        self._entry_at = entry_at
        self._clock = clock
        self._alarm = Alarm(clock, self.wake)
        # Whoever was served goes to the end, so that the work is spread.
        self._takers: deque[MemoryConsumption] = deque()
        self._pump_is_scheduled = False

    def check_joins(self, spec: ConsumerSpec) -> None:
        """Refuse to join under other terms: the work of the others would change under their feet.

        Raises:
            LogError: the patterns, the lease or the limit differ.
        """
        if _terms(spec) != _terms(self.spec):
            msg = f"consumer {spec.name!r} exists with other settings"
            raise LogError(msg)

    def join(self, consumption: MemoryConsumption) -> None:
        self._takers.append(consumption)
        self.wake()

    def leave(self, consumption: MemoryConsumption) -> None:
        """Nothing more for this one; what it holds stays under its lease."""
        if consumption in self._takers:
            self._takers.remove(consumption)
        if not self._takers:
            # Nobody asks, so nothing has to ring: leases are looked at when somebody joins.
            self._alarm.cancel()

    def dismiss(self, reason: str) -> None:
        """The consumer is deleted: everybody who works on it is told."""
        takers, self._takers = tuple(self._takers), deque()
        self._alarm.cancel()
        for taker in takers:
            taker.gone(reason)

    def offer(self, entry: Stored) -> None:
        if matches_any(self.spec.patterns, entry.key):
            self.ledger.offer(entry.sequence)
            self.wake()

    def forget(self, sequence: int) -> None:
        self.ledger.forget(sequence)
        self.wake()

    def settle(self, sequence: int) -> None:
        self.ledger.settle(sequence)
        self.wake()

    def hand_back(self, sequence: int, delay: float) -> None:
        self.ledger.hand_back(sequence, self._clock.monotonic(), delay)
        self.wake()

    def renew(self, sequence: int) -> None:
        self.ledger.renew(sequence, self._clock.monotonic())

    def backlog(self) -> Backlog:
        return Backlog(self.ledger.num_waiting, self.ledger.num_ack_pending)

    def wake(self) -> None:
        """Hand out in a later turn of the loop, never inside the call that made it possible."""
        if self._takers and not self._pump_is_scheduled:
            self._pump_is_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_is_scheduled = False
        # Also where nobody has room: a lease that is over must not set the alarm again and again.
        self.ledger.expire(self._clock.monotonic())
        for _ in range(_BATCH):
            if not self._hand_out_one():
                break
        else:
            self.wake()
        change = self.ledger.next_change()
        if self._takers and change is not None:
            self._alarm.set(change)

    def _hand_out_one(self) -> bool:
        taker = self._next_taker()
        if taker is None:
            return False
        taken = self.ledger.take(self._clock.monotonic())
        if taken is None:
            return False
        sequence, count = taken
        entry = self._entry_at(sequence)
        if entry is None:
            self.ledger.forget(sequence)
        else:
            taker.take(MemoryDelivery(entry, count, self, taker.line))
        return True

    def _next_taker(self) -> MemoryConsumption | None:
        for _ in range(len(self._takers)):
            self._takers.rotate(-1)
            if self._takers[-1].has_room:
                return self._takers[-1]
        return None


def _terms(spec: ConsumerSpec) -> tuple[object, ...]:
    return tuple(spec.patterns), spec.lease, spec.max_ack_pending
