"""An entry of the log as a delivery for one node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from penguiflow.durable.envelope import Envelope
from penguiflow.durable.log import Key, LogDelivery


class Again(Protocol):
    """Schedules another attempt on a delivery that keeps its lease."""

    def __call__(self, delivery: DurableDelivery, delay: float) -> None: ...


class DurableDelivery:
    """One input of one node: decoded, with the identity its record will have."""

    __slots__ = (
        "_again",
        "_hold_limit",
        "attempt",
        "envelope",
        "input_id",
        "log_delivery",
        "record_key",
        "share",
        "trace_id",
        "value",
    )

    def __init__(
        self,
        log_delivery: LogDelivery,
        envelope: Envelope,
        *,
        value: Any,
        input_id: str,
        share: str,
        record_key: Key,
        again: Callable[[DurableDelivery, float], None],
        hold_limit: float,
    ) -> None:
        self.log_delivery = log_delivery
        self.envelope = envelope
        self.value = value
        self.trace_id: str | None = envelope.trace
        self.input_id = input_id
        self.share = share
        """What part of its submission this input carries."""
        self.record_key = record_key
        self.attempt = log_delivery.num_delivered - 1
        self._again = again
        self._hold_limit = hold_limit

    async def ack(self) -> None:
        await self.log_delivery.ack()

    async def nak(self, delay: float = 0.0, *, attempted: bool = True) -> None:
        """A short back-off is waited for here, with the lease renewed; a long one in the log."""
        if attempted and delay <= self._hold_limit:
            self.attempt += 1
            self._again(self, delay)
            return
        await self.log_delivery.nak(delay)

    async def term(self, reason: str) -> None:
        await self.log_delivery.term(reason)
