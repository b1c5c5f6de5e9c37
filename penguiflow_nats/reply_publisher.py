"""Publishes the events of one epoch: in order, numbered, stored before the end is."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import Raw

from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.envelope import NONE
from penguiflow_nats import error_codes
from penguiflow_nats.call_wire import VERSION, ReplyEvent, encode
from penguiflow_nats.errors import NatsError
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.persist import persist
from penguiflow_nats.stream_types import PubAck

_WINDOW = 256
"""Events on their way to the server at once."""
_GIVE_UP = 60.0
_NO_ROOM = (error_codes.MAXIMUM_REACHED, error_codes.INSUFFICIENT_RESOURCES)


class _Sent(NamedTuple):
    data: bytes
    receipt: asyncio.Future[PubAck]


class ReplyPublisher:
    """The events of one task in one epoch."""

    def __init__(
        self, jetstream: JetStream, codec: ValueCodec, subject: str, *, epoch: int
    ) -> None:
        self._jetstream = jetstream
        self._codec = codec
        self._subject = subject
        self._epoch = epoch
        self._sent: deque[_Sent] = deque()
        self.count = 0
        self.broken: NatsError | None = None
        """Why the server did not take an event that it would have had to take."""

    async def publish(self, text: str, *, done: bool, meta: Mapping[str, Any] | None) -> None:
        """Send one event; waits while too many are not stored yet.

        Raises:
            NatsError: the server refuses, or is away for too long.
            WireError: the event cannot travel.
        """
        packed = Raw(self._codec.pack(dict(meta), "meta")) if meta else NONE
        data = encode(ReplyEvent(VERSION, self._epoch, self.count, text, done, packed))
        while len(self._sent) >= _WINDOW or (self._sent and self._sent[0].receipt.done()):
            await self._settle_oldest()
        connection = self._jetstream.connection
        link = connection.link
        if link is not None and link.pending_bytes > connection.settings.max_pending_bytes:
            await connection.writable()
        self._sent.append(_Sent(data, self._jetstream.append(self._subject, data)))
        self.count += 1

    async def flush(self) -> None:
        """Wait until everything is stored. Raises as `publish`."""
        while self._sent:
            await self._settle_oldest()

    async def _settle_oldest(self) -> None:
        sent = self._sent[0]
        try:
            await sent.receipt
        except NatsError:
            await self._send_again(sent.data)
        self._sent.popleft()

    async def _send_again(self, data: bytes) -> None:
        """Stored twice is harmless: the number tells. What comes later may be stored already, so
        a reader has to sort."""
        try:
            await persist(
                self._jetstream.connection,
                lambda: self._jetstream.append(self._subject, data),
                limit=_GIVE_UP,
                also=_NO_ROOM,
            )
        except NatsError as error:
            self.broken = error
            raise

    def abandon(self) -> None:
        """Nobody wants to know any more what became of what is on its way."""
        for sent in self._sent:
            sent.receipt.add_done_callback(_look_away)
        self._sent.clear()


def _look_away(receipt: asyncio.Future[PubAck]) -> None:
    if not receipt.cancelled():
        receipt.exception()
