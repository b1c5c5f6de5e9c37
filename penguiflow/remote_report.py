"""The FlowEvents of one remote call. Every extra key has the prefix `remote_`."""

from __future__ import annotations

import logging
from typing import Any

from pydantic_core import to_json

from penguiflow.clock import SYSTEM_CLOCK
from penguiflow.node import Node
from penguiflow.remote_models import RemoteCallRequest, RemoteStreamEvent


def size_of(value: Any) -> int:
    """Bytes of a value as JSON; what JSON does not know counts as its `repr`."""
    if value is None:
        return 0
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    try:
        return len(to_json(value, fallback=repr))
    except ValueError:  # a lone surrogate, a cycle: a size must never fail a call
        return len(repr(value))


class CallReport:
    """Says what happens to one call, through the runtime of its node."""

    def __init__(
        self, node: Node, context: Any, request: RemoteCallRequest, *, transport: Any, stream: bool
    ) -> None:
        self._node = node
        self._context = context
        self._request = request
        self._started = SYSTEM_CLOCK.monotonic()
        self._texts = 0
        self._bytes = 0
        self.context_id: str | None = request.context_id
        self.task_id: str | None = request.task_id
        self._base: dict[str, Any] = {
            "skill": request.skill,
            "transport": type(transport).__name__,
            "streaming": stream,
            "request_bytes": size_of(request.message),
            "agent_url": request.agent_url,
        }

    def milliseconds(self) -> float:
        """Time since the call began."""
        return (SYSTEM_CLOCK.monotonic() - self._started) * 1000.0

    async def started(self) -> None:
        """The call begins."""
        await self._record("remote_call_start", logging.DEBUG, 0.0)

    async def text(self, event: RemoteStreamEvent) -> None:
        """A piece of text arrived."""
        size = size_of(event.text)
        self._bytes += size
        extra = {
            "stream_seq": self._texts,
            "chunk_bytes": size,
            "chunk_done": event.done,
            "chunk_meta_keys": sorted(map(str, event.meta)) if event.meta else None,
        }
        self._texts += 1
        await self._record("remote_stream_event", logging.DEBUG, self.milliseconds(), **extra)

    async def succeeded(self, result: Any) -> None:
        """The call has its result."""
        extra = {
            "response_bytes": self._bytes + size_of(result),
            "stream_events": self._texts,
            "status": "success",
        }
        await self._record("remote_call_success", logging.INFO, self.milliseconds(), **extra)

    async def failed(self, error: BaseException) -> None:
        """The call raised."""
        extra = {"error": repr(error), "status": "error"}
        await self._record("remote_call_error", logging.ERROR, self.milliseconds(), **extra)

    async def cancelled(self, reason: str, milliseconds: float) -> None:
        """The remote task was told to end."""
        extra = {"cancel_reason": reason, "status": "cancelled"}
        await self._record("remote_call_cancelled", logging.INFO, milliseconds, **extra)

    async def cancel_failed(self, reason: str, error: Exception, milliseconds: float) -> None:
        """The remote task could not be told to end."""
        extra = {"cancel_reason": reason, "error": repr(error), "status": "cancel_error"}
        await self._record("remote_cancel_error", logging.ERROR, milliseconds, **extra)

    async def _record(self, event: str, level: int, latency_ms: float, **extra: Any) -> None:
        runtime = self._context.runtime
        if runtime is None:
            return
        known = {
            **self._base,
            "context_id": self.context_id,
            "task_id": self.task_id,
            **extra,
        }
        await runtime.record_remote_event(
            event=event,
            node=self._node,
            context=self._context,
            trace_id=self._request.message.trace_id,
            latency_ms=latency_ms,
            level=level,
            extra={f"remote_{key}": value for key, value in known.items() if value is not None},
        )
