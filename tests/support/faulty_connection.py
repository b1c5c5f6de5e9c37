"""A connection whose every call may fail: before it reached the server, or after it took effect.

It stands between all of this project's code and the client library, so that whatever is done over
NATS can be done over a bad line, by a seed. `penguiflow.testing.FaultyLog` does the same one floor
higher, without a server.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import OutcomeUnknown
from penguiflow_nats.settings import ConnectionSettings

LATENESS = 0.05
"""Longest time in seconds by which an answer is late, or a lost one is given up."""


class FaultyConnection(Connection):
    """Requests fail with `OutcomeUnknown`, unanswered or unsent; publishes get lost.

    Attributes:
        rate: The share of calls that fail, from 0 to 1; it can be changed at any time.
        faults: How often what happened.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        """As `Connection`: without faults, until `rate` and `seed` say otherwise."""
        super().__init__(settings)
        self.rate = 0.0
        self.faults: Counter[str] = Counter()
        self._random = random.Random(0)

    def spoil(self, seed: int, rate: float) -> None:
        """From now on fail so often, by this seed."""
        self._random.seed(seed)
        self.rate = rate

    def _draw(self, *possible: str) -> str | None:
        if self._random.random() >= self.rate:
            return None
        fault = self._random.choice(possible)
        self.faults[fault] += 1
        return fault

    def request(  # type: ignore[override]
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
        decode: Callable[..., Any] | None = None,
    ) -> asyncio.Future[Any]:
        def send() -> asyncio.Future[Any]:
            return super(FaultyConnection, self).request(
                subject, payload, headers, timeout=timeout, decode=decode
            )

        return self._spoiled(subject, send)

    def request_many(
        self, subject: str, payload: bytes = b"", headers: Any = None, **options: Any
    ) -> asyncio.Future[None]:
        def send() -> asyncio.Future[None]:
            return super(FaultyConnection, self).request_many(subject, payload, headers, **options)

        return self._spoiled(subject, send)

    def publish(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        reply: str = "",
    ) -> None:
        if self._draw("publish lost") is None:
            super().publish(subject, payload, headers, reply)

    def _spoiled(self, subject: str, send: Callable[[], asyncio.Future[Any]]) -> Any:
        fault = self._draw("request lost", "answer lost", "answer late")
        if fault is None:
            return send()
        loop = asyncio.get_running_loop()
        outer: asyncio.Future[Any] = loop.create_future()
        delay = self._random.uniform(0, LATENESS)
        if fault == "request lost":
            loop.call_later(delay, _fail, outer, OutcomeUnknown(subject, fault))
            return outer

        def answered(inner: asyncio.Future[Any]) -> None:
            error = None if inner.cancelled() else inner.exception()
            if fault == "answer lost":
                _fail(outer, OutcomeUnknown(subject, fault))
            elif error is not None:
                loop.call_later(delay, _fail, outer, error)
            elif not inner.cancelled():
                loop.call_later(delay, _give, outer, inner.result())

        inner = send()
        inner.add_done_callback(answered)
        outer.add_done_callback(lambda done: inner.cancel() if done.cancelled() else None)
        return outer


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _give(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)
