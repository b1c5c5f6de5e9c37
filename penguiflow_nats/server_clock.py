"""The server's clock, so that a budget counts from when the server stored a request."""

from __future__ import annotations

import asyncio

import msgspec

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import NatsError
from penguiflow_nats.jetstream import timestamp_ns


class _Moment(msgspec.Struct, frozen=True):
    ts: str = ""


_decode = msgspec.json.Decoder(_Moment).decode


class ServerClock:
    """Estimates the server's time, to half a round trip. Clocks of machines are never compared."""

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection = connection
        self._subject = f"$JS.API.STREAM.INFO.{stream}"
        self._loop = asyncio.get_running_loop()
        self._offset: float | None = None

    async def synchronise(self) -> None:
        """Ask once; without an answer the estimate stays as it is."""
        before = self._loop.time()
        try:
            moment = _decode((await self._connection.request(self._subject)).data).ts
        except (NatsError, msgspec.DecodeError):
            return
        if moment.endswith("Z"):
            middle = (before + self._loop.time()) / 2
            self._offset = timestamp_ns(moment) / 1e9 - middle

    def age(self, stored_at: float) -> float:
        """Seconds since the server's moment `stored_at`; 0 while its time is not known."""
        if self._offset is None:
            return 0.0
        return max(0.0, self._loop.time() + self._offset - stored_at)
