"""The mirror of a local flow's edges: a bus that is told, and only told."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from penguiflow.bus import BusEnvelope, MessageBus
from penguiflow.events import is_own_cancel, log_event
from penguiflow.floe import Floe
from penguiflow.types import Message


class MirrorBus:
    """Publishes what goes onto each edge. It fails open: a bus that raises loses no message."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self._pending: set[asyncio.Task[None]] = set()

    async def publish(self, floe: Floe, value: Any, trace_id: str | None) -> None:
        """Tell the bus and wait for it."""
        envelope = _envelope(floe, value, trace_id)
        try:
            await self._bus.publish(envelope)
        except (Exception, asyncio.CancelledError) as exc:
            if is_own_cancel(exc):
                raise
            failure = {"edge": envelope.edge, "trace_id": trace_id, "exception": repr(exc)}
            log_event(logging.ERROR, "message_bus_publish_failed", failure, exc)

    def publish_soon(self, floe: Floe, value: Any, trace_id: str | None) -> None:
        """Tell the bus without waiting; `flush` waits for it."""
        task = asyncio.get_running_loop().create_task(self.publish(floe, value, trace_id))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def flush(self) -> None:
        """Wait for what was published without waiting."""
        while self._pending:
            await asyncio.gather(*self._pending, return_exceptions=True)


def _envelope(floe: Floe, value: Any, trace_id: str | None) -> BusEnvelope:
    source, target = str(floe.source.name), str(floe.target.name)
    is_message = isinstance(value, Message)
    return BusEnvelope(
        edge=f"{source}->{target}",
        source=source,
        target=target,
        trace_id=trace_id,
        payload=value,
        headers=value.headers.model_dump() if is_message else None,
        meta=dict(value.meta) if is_message else None,
    )
