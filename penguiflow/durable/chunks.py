"""Follows the live chunks of a trace: in order, each once, and never silently incomplete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from penguiflow.durable import hints
from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.hints import ChunkHint
from penguiflow.durable.log import Log, Subscription
from penguiflow.types import Message, StreamChunk

_PENDING = 10_000
"""Chunks that wait for their reader; more is an error, not a silent loss."""


class ChunkGap(RuntimeError):
    """A chunk of a stream was lost on the way. The result is not affected."""


class ChunkFollower:
    """The chunks of one trace, from the moment it is entered.

    A node that runs again starts its streams anew: the chunks of the later attempt follow, those
    of the earlier one end.
    """

    def __init__(self, log: Log, codec: ValueCodec, trace: str) -> None:
        self._log = log
        self._codec = codec
        self._trace = trace
        self._queue: asyncio.Queue[ChunkHint | None] = asyncio.Queue()
        self._subscription: Subscription | None = None
        self._streams: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._overflow = False

    async def __aenter__(self) -> Self:
        topic = hints.topic("*", self._trace, chunks=True)
        self._subscription = await self._log.listen(topic, self._heard)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    def _heard(self, topic: str, data: bytes) -> None:
        hint = hints.read_chunk(data)
        if hint is None:
            return
        if self._queue.qsize() >= _PENDING:
            self._overflow = True
            return
        self._queue.put_nowait(hint)

    async def until(self, done: asyncio.Future[Any]) -> AsyncIterator[StreamChunk]:
        """The chunks until `done` is done and nothing is waiting.

        Raises:
            ChunkGap: a chunk is missing, or the reader was too slow.
        """
        done.add_done_callback(lambda _: self._queue.put_nowait(None))
        while True:
            hint = await self._queue.get()
            if hint is None:
                return
            chunk = self._accept(hint)
            if chunk is not None:
                yield chunk

    def _accept(self, hint: ChunkHint) -> StreamChunk | None:
        """The chunk, or None for one of an attempt that was given up."""
        if self._overflow:
            msg = f"more than {_PENDING} chunks waited for their reader; read faster"
            raise ChunkGap(msg)
        key = (hint.node, hint.input, hint.stream_id)
        attempt, expected = self._streams.get(key, (hint.attempt, hint.seq))
        if hint.attempt < attempt:
            return None
        if hint.attempt == attempt and hint.seq > expected:
            msg = f"stream {hint.stream_id}: chunk {expected} is missing before {hint.seq}"
            raise ChunkGap(msg)
        if hint.attempt == attempt and hint.seq < expected and not hint.done:
            return None
        self._streams[key] = (hint.attempt, 0 if hint.done else hint.seq + 1)
        message = self._codec.unpack_output(hint.output)
        payload = message.payload if isinstance(message, Message) else message
        return payload if isinstance(payload, StreamChunk) else None
