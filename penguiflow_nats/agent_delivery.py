"""A request in the hands of one replica of an agent."""

from __future__ import annotations

import contextlib

from penguiflow_nats.errors import NotConnected, OutcomeUnknown
from penguiflow_nats.stream_message import StreamMessage


class CallDelivery:
    """A stored request, with the verbs that settle it."""

    __slots__ = ("_message", "data", "num_delivered", "stored_at", "subject")

    def __init__(self, message: StreamMessage) -> None:
        self._message = message
        self.subject = message.subject
        self.data = message.data
        self.num_delivered = message.num_delivered
        self.stored_at = message.timestamp_ns / 1e9
        """Seconds since the epoch by the server's clock."""

    async def ack(self) -> None:
        # Twice: on a fresh connection the first confirmation may just have been lost. If both
        # are, a redelivery comes, and finds the task over.
        for _ in range(2):
            with contextlib.suppress(OutcomeUnknown):
                await self._message.ack()
                return

    async def nak(self, delay: float = 0.0) -> None:
        with contextlib.suppress(NotConnected):  # the lease ends by itself
            self._message.nak(delay)

    async def term(self, reason: str) -> None:
        with contextlib.suppress(NotConnected):
            self._message.term(reason)

    def in_progress(self) -> None:
        """Renew the lease."""
        with contextlib.suppress(NotConnected):
            self._message.in_progress()
