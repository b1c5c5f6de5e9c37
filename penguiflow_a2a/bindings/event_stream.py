"""Server-sent events: what is at hand leaves together, so a fast stream costs few writes and a slow
one waits for nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_PENDING = 256 * 1024
"""Bytes that wait for a slow reader; the events behind them stay where they are."""
_PING = 15.0
"""Seconds of silence after which a comment tells that the stream lives."""
_STALLED = 60.0
"""Seconds for which a reader may take nothing; then the connection is broken off, which the reader
can tell from an end."""


class EventStream(Response):
    """A stream of events.

    Args:
        frames: The data of each event, one line.
        failed: Makes the data of the event that tells an error of `frames`.
    """

    media_type = "text/event-stream"

    def __init__(
        self, frames: AsyncGenerator[str, None], *, failed: Callable[[Exception], str]
    ) -> None:
        super().__init__(
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        del self.headers["content-length"]
        self._frames = frames
        self._failed = failed
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._done = False
        self._filled = asyncio.Event()
        self._room = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the events end, or the reader is gone."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        draining = asyncio.ensure_future(self._drain(send))
        gone = asyncio.ensure_future(_disconnected(receive))
        tasks = [draining, gone, asyncio.ensure_future(self._fill())]
        try:
            await asyncio.wait({draining, gone}, return_when=asyncio.FIRST_COMPLETED)
            if draining.done():
                draining.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._frames.aclose()

    async def _fill(self) -> None:
        try:
            async for frame in self._frames:
                self._put(b"data: %s\r\n\r\n" % frame.encode())
                while self._bytes > _PENDING:
                    self._room.clear()
                    await self._room.wait()
        except Exception as error:  # noqa: BLE001 - whatever it is, the reader is told
            self._put(b"event: error\r\ndata: %s\r\n\r\n" % self._failed(error).encode())
        self._done = True
        self._filled.set()

    def _put(self, data: bytes) -> None:
        self._waiting.append(data)
        self._bytes += len(data)
        self._filled.set()

    async def _drain(self, send: Send) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PING):
                    await self._filled.wait()
            self._filled.clear()
            data = b"".join(self._waiting) or (b"" if self._done else b": ping\r\n\r\n")
            self._waiting, self._bytes = [], 0
            self._room.set()
            done = self._done
            async with asyncio.timeout(_STALLED):
                if data:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                if done:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    return


async def _disconnected(receive: Receive) -> None:
    message: Any = {}
    while message.get("type") != "http.disconnect":
        message = await receive()


__all__ = ["EventStream"]
