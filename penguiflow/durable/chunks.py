"""Follows the live chunks of a trace: in order, each once, and never silently incomplete.

Chunks come by a live subscription, for speed. What is missed there is read where it is kept.
"""

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
"""Chunks that wait for their reader in memory; more are read where they are kept."""


class ChunkGap(RuntimeError):
    """A chunk of a stream is kept no longer. The result is not affected."""


class ChunkFollower:
    """The chunks of one trace, from its beginning.

    A node that runs again starts its streams anew: the chunks of the later attempt follow, those
    of the earlier one end.
    """

    def __init__(self, log: Log, codec: ValueCodec, trace: str) -> None:
        self._log = log
        self._codec = codec
        self._trace = trace
        self._queue: asyncio.Queue[ChunkHint | None] = asyncio.Queue()
        self._subscription: Subscription | None = None
        self._runs: dict[tuple[str, str], tuple[int, int]] = {}
        self._missed = True
        """Whether something may be kept that did not come by the subscription."""

    async def __aenter__(self) -> Self:
        self._subscription = await self._log.listen_live(self._trace, self._heard)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    def _heard(self, data: bytes) -> None:
        hint = hints.read_chunk(data)
        if hint is None:
            return
        if self._queue.qsize() >= _PENDING:
            self._missed = True  # a slow reader reads the rest where it is kept
        else:
            self._queue.put_nowait(hint)

    async def until(self, done: asyncio.Future[Any]) -> AsyncIterator[StreamChunk]:
        """The chunks until `done` is done and none is left.

        Raises:
            ChunkGap: a chunk is kept no longer.
        """
        done.add_done_callback(lambda _: self._queue.put_nowait(None))
        while True:
            hint = await self._queue.get()
            if hint is not None and self._is_next(hint):
                yield self._take(hint)
            elif hint is None or self._is_ahead(hint) or self._missed:
                for kept in await self._kept():
                    yield self._take(kept)
            if hint is None:
                return

    async def _kept(self) -> list[ChunkHint]:
        """The kept chunks that were not taken yet, in order.

        Raises:
            ChunkGap: one of them is missing.
        """
        self._missed = False
        found: list[ChunkHint] = []
        runs = dict(self._runs)
        for data in await self._log.read_live(self._trace):
            hint = hints.read_chunk(data)
            if hint is None:
                continue
            key = (hint.node, hint.input)
            attempt, expected = runs.get(key, (0, 0))
            if hint.attempt > attempt:
                attempt, expected = hint.attempt, 0
            if hint.attempt < attempt or hint.number < expected:
                continue
            if hint.number > expected:
                msg = f"chunk {expected} of node {hint.node!r} is missing before {hint.number}"
                raise ChunkGap(msg)
            runs[key] = (hint.attempt, hint.number + 1)
            found.append(hint)
        return found

    def _is_next(self, hint: ChunkHint) -> bool:
        position = self._runs.get((hint.node, hint.input), (0, 0))
        return position == (hint.attempt, hint.number)

    def _is_ahead(self, hint: ChunkHint) -> bool:
        position = self._runs.get((hint.node, hint.input), (0, 0))
        return (hint.attempt, hint.number) > position

    def _take(self, hint: ChunkHint) -> StreamChunk:
        self._runs[hint.node, hint.input] = (hint.attempt, hint.number + 1)
        message = self._codec.unpack_output(hint.output)
        payload = message.payload if isinstance(message, Message) else message
        assert isinstance(payload, StreamChunk)  # noqa: S101 - only chunks are streamed so
        return payload
