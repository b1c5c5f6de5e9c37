"""The server's clock, so that deadlines are judged by one clock, whatever the machines' say."""

from __future__ import annotations

import time

import msgspec

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import NatsError
from penguiflow_nats.jetstream import timestamp_ns

_FRESH = 30.0
"""Seconds for which an estimate is taken as it is."""
_DRIFT = 2e-4
"""Seconds per second by which two clocks may drift apart; quartz does ten times better."""


class _Moment(msgspec.Struct, frozen=True):
    ts: str = ""


_decode = msgspec.json.Decoder(_Moment).decode


def _elapsed() -> float:
    """Seconds of a clock that nobody sets, and that goes on while the machine sleeps."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class ServerClock:
    """Estimates the server's time, to half a round trip. Clocks of machines are never compared."""

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection = connection
        self._subject = f"$JS.API.STREAM.INFO.{stream}"
        self._offset: float | None = None
        self._error = 0.0
        self._asked = 0.0

    async def synchronise(self) -> None:
        """Ask once; without an answer the estimate stays as it is."""
        before = _elapsed()
        try:
            moment = _decode((await self._connection.request(self._subject)).data).ts
        except (NatsError, msgspec.DecodeError):
            return
        if moment.endswith("Z"):
            after = _elapsed()
            self._take(timestamp_ns(moment) / 1e9 - (before + after) / 2, (after - before) / 2)

    async def refresh(self) -> None:
        """Ask again when the estimate is old."""
        if self._offset is None or _elapsed() - self._asked > _FRESH:
            await self.synchronise()

    def _take(self, offset: float, error: float) -> None:
        """Take an estimate unless the one that is there is better, and both can be true."""
        now = _elapsed()
        if self._offset is not None:
            kept = self._error + _DRIFT * (now - self._asked)
            if error > kept and abs(offset - self._offset) <= error + kept:
                self._error, self._asked = kept, now
                return
        self._offset, self._error, self._asked = offset, error, now

    def now(self) -> float:
        """The server's time, seconds since the epoch; this machine's while it is not known."""
        return time.time() if self._offset is None else _elapsed() + self._offset

    def age(self, stored_at: float) -> float:
        """Seconds since the server's moment `stored_at`; 0 while its time is not known."""
        if self._offset is None:
            return 0.0
        return max(0.0, self.now() - stored_at)
