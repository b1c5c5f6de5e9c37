"""Many writes on their way at once: in order, with a bounded number of bytes, none forgotten."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from penguiflow_nats.errors import NatsError
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.stream_types import PubAck

WINDOW_BYTES = 4 * 1024 * 1024
"""Bytes that wait for their receipts at most, by default."""
_WINDOW = 512
"""Writes that do."""


class Write(NamedTuple):
    """One message for a stream."""

    subject: str
    data: bytes
    headers: Mapping[str, str] | None


class Pipeline:
    """Sends writes without waiting for each receipt.

    When one fails, nothing more is sent until `recover` has settled it and all that were sent after
    it, one by one and in order. So a write must be safe to repeat.
    """

    def __init__(
        self,
        jetstream: JetStream,
        *,
        recover: Callable[[Sequence[Write]], Awaitable[None]],
        harmless: Callable[[NatsError], bool] = lambda error: False,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        """Prepare.

        Args:
            jetstream: Where to write.
            recover: Given the writes that are not known to be stored; raises when it gives up.
            harmless: Whether a refusal means that the write is there already.
            window_bytes: Bytes that wait for receipts at most; one write may always go.
        """
        self._jetstream = jetstream
        self._recover = recover
        self._harmless = harmless
        self._window = window_bytes
        self._bytes = 0
        self._sent: deque[tuple[Write, asyncio.Future[PubAck]]] = deque()

    async def send(self, write: Write) -> None:
        """Send one write, after waiting for room.

        Raises:
            NatsError: An earlier write was given up, or this one is refused before it is sent.
        """
        size = len(write.data) + len(write.subject)
        while self._sent and (
            self._bytes + size > self._window
            or len(self._sent) >= _WINDOW
            or self._sent[0][1].done()
        ):
            await self._settle_oldest()
        connection = self._jetstream.connection
        link = connection.link
        if link is not None and link.pending_bytes > connection.settings.max_pending_bytes:
            await connection.writable()
        receipt = self._jetstream.append(write.subject, write.data, write.headers)
        self._sent.append((write, receipt))
        self._bytes += size

    async def flush(self) -> None:
        """Wait until everything is stored. Raises as `send`."""
        while self._sent:
            await self._settle_oldest()

    async def drop(self) -> None:
        """Send nothing more, and wait until nothing is on its way, whatever became of it."""
        receipts = [receipt for _, receipt in self._sent]
        self.abandon()
        if receipts:
            await asyncio.wait(receipts)

    def abandon(self) -> None:
        """Nobody wants to know any more what became of what is on its way."""
        for _, receipt in self._sent:
            receipt.add_done_callback(_look_away)
        self._sent.clear()
        self._bytes = 0

    async def _settle_oldest(self) -> None:
        write, receipt = self._sent[0]
        try:
            await receipt
        except NatsError as error:
            if not self._harmless(error):
                await self._settle_all()
                return
        self._sent.popleft()
        self._bytes -= len(write.data) + len(write.subject)

    async def _settle_all(self) -> None:
        await asyncio.wait([receipt for _, receipt in self._sent])
        writes = [write for write, _ in self._sent]
        self.abandon()
        await self._recover(writes)


def _look_away(receipt: asyncio.Future[PubAck]) -> None:
    if not receipt.cancelled():
        receipt.exception()


__all__ = ["WINDOW_BYTES", "Pipeline", "Write"]
