"""What a remote node needs of its runtime, in a local flow and in a durable one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from penguiflow.events import Events, log_event
from penguiflow.node import Node
from penguiflow.state.models import RemoteBinding
from penguiflow.state.protocols import SupportsConversationBindings
from penguiflow.telemetry.instrument import Instrument

RELEASE_LIMIT = 10.0
"""Seconds that the release of a transport may take."""


@runtime_checkable
class Releasable(Protocol):
    """A transport that holds a connection which nobody else closes."""

    async def release(self) -> None:
        """A runtime that used it has stopped: close what nobody else owns or uses. It may be used
        again."""


class RemoteSupport:
    """Bindings, remote events, and tasks that end with the runtime."""

    def __init__(self, events: Events, *, telemetry: Instrument | None = None) -> None:
        self.events = events
        self.telemetry = telemetry
        """Observes what runs here."""
        self._external: dict[asyncio.Future[Any], str] = {}
        self._transports: set[Releasable] = set()

    async def save_remote_binding(self, binding: RemoteBinding) -> None:
        """Keep which remote task works for a trace; no-op without a store; failure is logged."""
        if self.events.store is None:
            return
        try:
            await self.events.store.save_remote_binding(binding)
        except Exception as exc:
            if not self.events.store_fails_open:
                raise
            failure = {
                "key": (binding.trace_id, binding.context_id, binding.task_id),
                "trace_id": binding.trace_id,
                "context_id": binding.context_id,
                "task_id": binding.task_id,
                "agent_url": binding.agent_url,
                "exception": repr(exc),
            }
            log_event(logging.ERROR, "state_store_binding_failed", failure, exc)

    async def end_remote_binding(self, binding: RemoteBinding) -> None:
        """Keep that the remote task has ended, in a store that anybody can look a binding up in.

        Any other store is told of a binding once: its end would say nothing to anybody.
        """
        store: object = self.events.store
        if isinstance(store, SupportsConversationBindings):
            await self.save_remote_binding(binding)

    def register_external_task(self, trace_id: str, future: asyncio.Future[Any]) -> None:
        """Let the stop of the runtime cancel and await this task or future."""
        self._external[future] = trace_id
        future.add_done_callback(lambda done: self._external.pop(done, None))

    def uses(self, transport: object) -> None:
        """Release a transport with the stop of the runtime, if it can be released."""
        if isinstance(transport, Releasable):
            self._transports.add(transport)

    async def cancel_external_tasks(self) -> None:
        """Cancel and await every registered task, then release the transports that were used."""
        tasks = list(self._external)
        self._external.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while self._transports:
            await self._release(self._transports.pop())

    async def _release(self, transport: Releasable) -> None:
        try:
            async with asyncio.timeout(RELEASE_LIMIT):
                await transport.release()
        except Exception as error:  # noqa: BLE001 - the runtime stops all the same
            failure = {"transport": type(transport).__name__, "exception": repr(error)}
            log_event(logging.WARNING, "transport_not_released", failure, error)

    async def record_remote_event(
        self,
        *,
        event: str,
        node: Node,
        context: Any,
        trace_id: str | None,
        latency_ms: float | None,
        level: int = logging.INFO,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Emit a FlowEvent about a remote call."""
        await self.events.emit(
            event,
            level=level,
            source=node,
            trace_id=trace_id,
            latency_ms=latency_ms,
            extra=extra,
        )
