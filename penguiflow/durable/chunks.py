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
        self._waits = ""
        """What is not there yet although its successors are."""

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
            is_next = hint is not None and self._is_next(hint)
            if hint is not None and is_next:
                yield self._take(hint)
            ahead = hint is not None and self._is_ahead(hint)
            if hint is None or ahead or self._waits or (self._missed and not is_next):
                for kept in await self._kept():
                    yield self._take(kept)
            if hint is None:
                if self._waits and _succeeded(done):
                    raise ChunkGap(self._waits)
                return

    async def _kept(self) -> list[ChunkHint]:
        """The kept chunks that were not taken yet, in order, up to one that is not there.

        Chunks of a run are sent side by side, so one that had to be sent again is kept behind its
        successors, or is still on its way. It is certain to be there when the result is.
        """
        self._missed = False
        found: list[ChunkHint] = []
        runs = dict(self._runs)
        early: dict[tuple[str, str], dict[int, ChunkHint]] = {}
        for data in await self._log.read_live(self._trace):
            hint = hints.read_chunk(data)
            if hint is None:
                continue
            key = (hint.node, hint.input)
            attempt, expected = runs.get(key, (0, 0))
            if hint.attempt > attempt:
                attempt, expected = hint.attempt, 0
                runs[key] = (attempt, expected)
                early.pop(key, None)
            if hint.attempt < attempt or hint.number < expected:
                continue
            waiting = early.setdefault(key, {})
            waiting[hint.number] = hint
            while expected in waiting:
                found.append(waiting.pop(expected))
                expected += 1
            runs[key] = (attempt, expected)
        self._waits = "; ".join(
            f"chunk {runs[key][1]} of node {key[0]!r} is missing before {min(waiting)}"
            for key, waiting in early.items()
            if waiting
        )
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


def _succeeded(done: asyncio.Future[Any]) -> bool:
    return done.done() and not done.cancelled() and done.exception() is None
