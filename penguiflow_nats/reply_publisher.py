"""Publishes the events of one epoch: in order, numbered, stored before the end is.

The first event leaves at once. What comes while it is on its way leaves together as soon as it is
stored, so a fast stream costs few messages and a slow one waits for nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Mapping
from typing import Any, NamedTuple

from msgspec import Raw

from penguiflow.durable.codec import ValueCodec
from penguiflow_nats import error_codes
from penguiflow_nats.call_wire import VERSION, Piece, ReplyEvents, encode
from penguiflow_nats.errors import NatsError
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.persist import persist
from penguiflow_nats.stream_types import PubAck

_WINDOW = 16
"""Messages on their way to the server at once."""
_PIECES, _BYTES = 1024, 64 * 1024
"""Most that one message holds; a longer piece has a message of its own."""
_GIVE_UP = 60.0
_NO_ROOM = (error_codes.MAXIMUM_REACHED, error_codes.INSUFFICIENT_RESOURCES)


class _Sent(NamedTuple):
    data: bytes
    receipt: asyncio.Future[PubAck]


class ReplyPublisher:
    """The events of one task in one epoch.

    Args:
        jetstream: Where to store them.
        codec: Packs what they carry beside their text.
        subject: Of the epoch.
        epoch: Which one.
        count: Events of earlier epochs that stay.
        in_order: Whether the stream must have them in their order, without a gap at any moment:
            then one message is on its way at a time.
    """

    def __init__(
        self,
        jetstream: JetStream,
        codec: ValueCodec,
        subject: str,
        *,
        epoch: int,
        count: int = 0,
        in_order: bool = False,
    ) -> None:
        self._window = 1 if in_order else _WINDOW
        self._jetstream = jetstream
        self._codec = codec
        self._subject = subject
        self._epoch = epoch
        self._waiting: list[Piece] = []
        self._waiting_bytes = 0
        self._sent: deque[_Sent] = deque()
        self._draining: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()
        self._first = self._gone = count
        """Events that were sent."""
        self.broken: NatsError | None = None
        """Why the server did not take an event that it would have had to take."""

    @property
    def count(self) -> int:
        """Events published so far, those of earlier epochs that stay included."""
        return self._gone + len(self._waiting)

    def publish(
        self, text: str, done: bool, meta: Mapping[str, Any] | None
    ) -> Awaitable[None] | None:
        """Take one event. Gives what to await first when the server does not keep up, or None:
        then it is taken, and nearly always it is.

        Raises:
            PayloadTooLarge: the event alone is more than the server takes; it does not count.
            NatsError: the server refuses, or was away for too long.
            WireError: the event cannot travel.
        """
        if self.broken is not None:
            raise self.broken
        size = len(text)
        if meta:
            packed = self._codec.pack(dict(meta), "meta")
            piece = Piece(text, done, Raw(packed))
            size += len(packed)
        else:
            piece = Piece(text, done)
        if self._waiting_bytes + size > _BYTES or len(self._waiting) >= _PIECES:
            return self._take_later(piece, size)
        if self._sent:
            self._waiting.append(piece)
            self._waiting_bytes += size
            return None
        self._take(piece, size)
        # A stream that never waits must let its first event leave, too.
        return asyncio.sleep(0) if self.count == self._first + 1 else None

    async def _take_later(self, piece: Piece, size: int) -> None:
        await self._send_waiting()
        if size > _BYTES:
            while len(self._sent) >= self._window:
                await self._turn()
        self._take(piece, size)

    def _take(self, piece: Piece, size: int) -> None:
        self._waiting.append(piece)
        self._waiting_bytes += size
        if not self._sent or size > _BYTES:
            try:
                self._send()
            except NatsError:
                self._waiting.pop()
                self._waiting_bytes -= size
                raise

    async def flush(self) -> None:
        """Wait until everything is stored. Raises as `publish`."""
        if self._waiting:
            await self._send_waiting()
        while self._sent:
            await self._turn()

    async def _send_waiting(self) -> None:
        while len(self._sent) >= self._window:
            await self._turn()
        if self._waiting:
            self._send()
            await asyncio.sleep(0)  # a stream that never waits must let the message leave

    async def _turn(self) -> None:
        """Wait until the oldest message on its way is stored."""
        self._raise_if_broken()
        self._moved.clear()
        await self._moved.wait()
        self._raise_if_broken()

    def _raise_if_broken(self) -> None:
        if self.broken is not None:
            raise self.broken

    def _send(self) -> None:
        pieces, first = self._waiting, self._gone
        data = encode(ReplyEvents(VERSION, self._epoch, first, pieces))
        self._sent.append(_Sent(data, self._jetstream.append(self._subject, data)))
        self._gone += len(pieces)
        self._waiting, self._waiting_bytes = [], 0
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        """See the messages stored in their order, and send what waited for them."""
        try:
            while self._sent:
                sent = self._sent[0]
                try:
                    await sent.receipt
                except NatsError:
                    await self._send_again(sent.data)
                self._sent.popleft()
                if self._waiting and not self._sent:
                    self._send()
                self._moved.set()
        except NatsError as error:
            self.broken = error
        finally:
            self._draining = None
            self._moved.set()

    async def _send_again(self, data: bytes) -> None:
        """Stored twice is harmless: the number tells. What comes later may be stored already, so
        a reader has to sort."""
        await persist(
            self._jetstream.connection,
            lambda: self._jetstream.append(self._subject, data),
            limit=_GIVE_UP,
            also=_NO_ROOM,
        )

    def abandon(self) -> None:
        """Nobody wants to know any more what became of what is on its way."""
        if self._draining is not None:
            self._draining.cancel()
        for sent in self._sent:
            sent.receipt.add_done_callback(_look_away)
        self._sent.clear()
        self._waiting = []


def _look_away(receipt: asyncio.Future[PubAck]) -> None:
    if not receipt.cancelled():
        receipt.exception()
