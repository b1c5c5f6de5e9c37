"""How much one owner may do at once in this process, and the error that says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from a2a.server.jsonrpc_models import JSONRPCError
from a2a.server.request_handlers.response_helpers import EXCEPTION_MAP
from a2a.utils.errors import (
    A2A_ERROR_MAPPING,
    A2A_ERROR_REASONS,
    JSON_RPC_ERROR_CODE_MAP,
    A2AError,
    ErrorMapping,
)

_OWNERS = 10_000
"""Owners whose rate is remembered; the one that was idle longest is forgotten first."""


class LimitExceeded(A2AError):
    """An owner does too much at once: HTTP 429, gRPC RESOURCE_EXHAUSTED, JSON-RPC -32029."""

    message = "Too many requests"


# The SDK's tables say how each binding writes an error; the protocol leaves room for more.
A2A_ERROR_MAPPING[LimitExceeded] = ErrorMapping(429, "RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED")
A2A_ERROR_REASONS[LimitExceeded] = "LIMIT_EXCEEDED"
JSON_RPC_ERROR_CODE_MAP[LimitExceeded] = -32029
EXCEPTION_MAP[LimitExceeded] = JSONRPCError


class OpenStreams:
    """Streams that are open, by owner."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[str, int] = {}

    @contextmanager
    def opened(self, owner: str) -> Iterator[None]:
        """One more is open within. Raises `LimitExceeded`."""
        if self._open.get(owner, 0) >= self._limit:
            msg = f"{self._limit} streams are open already; close one first"
            raise LimitExceeded(msg)
        self._open[owner] = self._open.get(owner, 0) + 1
        try:
            yield
        finally:
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]


class RequestRate:
    """A token bucket per owner, with room for the requests of one second.

    Args:
        per_second: Requests of one owner; None for any.
        now: Seconds of a clock that never steps back.
    """

    def __init__(
        self, per_second: float | None, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._now = now
        self._free_at: dict[str, float] = {}
        """When the bucket of an owner is full again; those that waited longest come first."""

    def take(self, owner: str) -> None:
        """One request. Raises `LimitExceeded`."""
        if self._per_second is None:
            return
        now = self._now()
        full_at = max(self._free_at.pop(owner, now), now) + 1.0 / self._per_second
        if full_at - now > max(1.0, 1.0 / self._per_second):
            self._free_at[owner] = full_at - 1.0 / self._per_second
            msg = f"more than {self._per_second:g} requests per second; slow down"
            raise LimitExceeded(msg)
        self._free_at[owner] = full_at
        if len(self._free_at) > _OWNERS:
            del self._free_at[next(iter(self._free_at))]
