"""Transports in memory, for the tests of remote nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from penguiflow.remote import RemoteCallRequest, RemoteCallResult, RemoteStreamEvent


class Transport:
    """Answers what it was told to, and remembers what it was asked."""

    def __init__(self, answer: Any = "result", events: list[Any] | None = None) -> None:
        self.answer = answer
        self.events = events or []
        self.requests: list[RemoteCallRequest] = []
        self.cancels: list[tuple[str, str]] = []
        self.hold: asyncio.Event | None = None
        """When there is one, no call ends before it is set."""
        self.cancel_takes = 0.0
        self.cancel_raises: Exception | None = None
        self.asked = asyncio.Event()
        self.closed_streams = 0

    async def send(self, request: RemoteCallRequest) -> RemoteCallResult:
        self.requests.append(request)
        self.asked.set()
        if self.hold is not None:
            await self.hold.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, RemoteCallResult):
            return self.answer
        return RemoteCallResult(self.answer)

    async def stream(self, request: RemoteCallRequest) -> AsyncIterator[RemoteStreamEvent]:
        self.requests.append(request)
        self.asked.set()
        try:
            for event in self.events:
                if event is None and self.hold is not None:
                    await self.hold.wait()
                elif isinstance(event, Exception):
                    raise event
                elif event is not None:
                    yield event
        finally:
            self.closed_streams += 1

    async def cancel(self, *, agent_url: str, task_id: str) -> None:
        if self.cancel_takes:
            await asyncio.sleep(self.cancel_takes)
        if self.cancel_raises is not None:
            raise self.cancel_raises
        self.cancels.append((agent_url, task_id))


class MintingTransport(Transport):
    """Names tasks in advance, a new one for each attempt."""

    async def mint_task_id(self, request: RemoteCallRequest, *, attempt: int) -> str:
        assert request.idempotency_key
        return f"minted-{attempt}"
