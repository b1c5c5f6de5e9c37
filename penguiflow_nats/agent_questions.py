"""What the handler of one task asks its caller, and what it was told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

from penguiflow_nats.call_wire import AUTH_REQUIRED, INPUT_REQUIRED

Put: TypeAlias = Callable[[str, int, Any], Awaitable[Any]]
"""Puts a question, given its state and number, to the caller, and gives the answer's payload."""


class Deadline:
    """A moment that may be moved, and can be waited for."""

    def __init__(self, left: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self.reached: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._at: float | None = None
        self.move(left)

    def move(self, left: float | None) -> None:
        """Let it be in so many seconds; None is never."""
        self.close()
        self._at = None if left is None else self._loop.time() + left
        if self._at is not None:
            self._timer = self._loop.call_at(self._at, self._reach)

    def _reach(self) -> None:
        if not self.reached.done():
            self.reached.set_result(None)

    def left(self) -> float | None:
        """Seconds until then."""
        return None if self._at is None else max(0.0, self._at - self._loop.time())

    def close(self) -> None:
        """Need no timer any more."""
        if self._timer is not None:
            self._timer.cancel()


class Questions:
    """The questions of one task. What was answered to an earlier replica is not asked again."""

    def __init__(self, put: Put, answered: Iterable[tuple[str, Any]] = ()) -> None:
        self._put = put
        self._inputs: list[Any] = []
        self.credentials: list[Any] = []
        for state, answer in answered:
            (self.credentials if state == AUTH_REQUIRED else self._inputs).append(answer)
        self._next = 0
        self._lock = asyncio.Lock()

    def rewind(self) -> None:
        """The handler begins anew."""
        self._next = 0

    async def ask(self, question: Any) -> Any:
        """The answer to the handler's next question."""
        number, self._next = self._next, self._next + 1
        async with self._lock:
            if number >= len(self._inputs):
                self._inputs.append(await self._put(INPUT_REQUIRED, self._count, question))
            return self._inputs[number]

    async def authorise(self, question: Any) -> None:
        """Ask for credentials; they are in `credentials` then."""
        async with self._lock:
            self.credentials.append(await self._put(AUTH_REQUIRED, self._count, question))

    @property
    def _count(self) -> int:
        return len(self._inputs) + len(self.credentials)


__all__ = ["Deadline", "Put", "Questions"]
