"""Hands FlowEvents to whoever listens: the log, the state store, the middlewares.

Nothing is built for an event that nobody listens to. An exception of a listener never reaches
the flow: it is logged on `penguiflow.core`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from penguiflow.clock import Clock
from penguiflow.metrics import FlowEvent, payload_of
from penguiflow.state.models import StoredEvent
from penguiflow.state.protocols import StateStore

if TYPE_CHECKING:
    from penguiflow.errors import FlowError
    from penguiflow.node import Node
    from penguiflow.telemetry.instrument import FlowInstrument

logger: logging.Logger = logging.getLogger("penguiflow.core")

RECORD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What a log record has by itself."""


class Middleware(Protocol):
    """Is called with every FlowEvent, in order, awaited."""

    async def __call__(self, event: FlowEvent) -> None: ...


class Gauges(Protocol):
    """Where the numbers of an event come from."""

    def depths(self, source: Any) -> tuple[int, int, int, int]:
        """(messages waiting before, behind, outgoing edges, maximum per edge) of a node."""

    def trace_gauges(self, trace_id: str | None) -> tuple[int | None, int, bool]:
        """(pending, running, cancelled) of a trace."""


class Events:
    """The delivery of events of one flow."""

    def __init__(
        self,
        gauges: Gauges,
        *,
        clock: Clock,
        store: StateStore | None = None,
        middlewares: list[Middleware] | None = None,
        store_fails_open: bool = True,
    ) -> None:
        self._gauges = gauges
        self._clock = clock
        self.store = store
        self.middlewares: list[Middleware] = middlewares if middlewares is not None else []
        self.store_fails_open = store_fails_open
        self.tenant: str | None = None
        self.instrument: FlowInstrument | None = None
        """Is told how long the store takes."""

    def wanted(self, level: int) -> bool:
        """Whether anybody would see an event of this log level."""
        return bool(self.middlewares) or self.store is not None or logger.isEnabledFor(level)

    async def emit(
        self,
        event_type: str,
        *,
        level: int,
        source: Any,
        trace_id: str | None,
        attempt: int = 0,
        latency_ms: float | None = None,
        exc: BaseException | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Build and deliver one event; awaits store and middlewares in turn.

        Raises:
            Exception: what the store raised, when the store does not fail open.
        """
        store = self.store
        logged = logger.isEnabledFor(level)
        if not (self.middlewares or store is not None or logged):
            return
        depth_in, depth_out, outgoing, maxsize = self._gauges.depths(source)
        pending, running, cancelled = self._gauges.trace_gauges(trace_id)
        ts = self._clock.now()
        # A store that is told the same event twice keeps one; two equal ones stay two.
        event_id = secrets.token_hex(16) if self.tenant is not None else None
        fields = (
            event_type,
            ts,
            source.name,
            source.node_id,
            trace_id,
            attempt,
            latency_ms,
            depth_in,
            depth_out,
            outgoing,
            maxsize,
            pending,
            running,
            cancelled,
            extra or {},
            event_id,
            None,
            self.tenant,
        )
        if logged:
            log_event(level, event_type, payload_of(*fields), exc)
        if store is not None:
            name, node_id, payload = source.name, source.node_id, payload_of(*fields)
            stored = StoredEvent(
                trace_id, ts, event_type, name, node_id, payload, event_id, None, self.tenant
            )
            await self._save(store, stored)
        if self.middlewares:
            event = FlowEvent(*fields)
            for middleware in self.middlewares:
                await _tell(middleware, event)

    async def _save(self, store: StateStore, event: StoredEvent) -> None:
        try:
            await self._stored(store, event)
        except (Exception, asyncio.CancelledError) as exc:
            if not self.store_fails_open or is_own_cancel(exc):
                raise
            failure = {"trace_id": event.trace_id, "kind": event.kind, "exception": repr(exc)}
            log_event(logging.ERROR, "state_store_save_failed", failure, exc)

    async def _stored(self, store: StateStore, event: StoredEvent) -> None:
        instrument = self.instrument
        if instrument is None:
            await store.save_event(event)
            return
        started, failure = self._clock.monotonic(), None
        try:
            await store.save_event(event)
        except BaseException as error:
            failure = error
            raise
        finally:
            instrument.stored(self._clock.monotonic() - started, failure)


async def tell_failed(events: Events, node: Node, error: FlowError) -> None:
    """A node failed without an attempt of its own, as a join does that ran out of time."""
    await events.emit(
        "node_failed",
        level=logging.ERROR,
        source=node,
        trace_id=error.trace_id,
        extra={"flow_error": error.to_payload()},
    )


async def _tell(middleware: Middleware, event: FlowEvent) -> None:
    try:
        await middleware(event)
    except (Exception, asyncio.CancelledError) as exc:
        if is_own_cancel(exc):
            raise
        failure = {
            "node_name": event.node_name,
            "node_id": event.node_id,
            "exception": repr(exc),
        }
        log_event(logging.ERROR, "middleware_error", failure, exc)


def is_own_cancel(exc: BaseException) -> bool:
    """Whether the current task is being cancelled; else a CancelledError leaked out of a call."""
    task = asyncio.current_task()
    cancelling = task is not None and task.cancelling() > 0
    return isinstance(exc, asyncio.CancelledError) and cancelling


def log_event(
    level: int, event: str, payload: Mapping[str, Any], exc: BaseException | None = None
) -> None:
    """One log record on `penguiflow.core`: the event's name, its payload as attributes."""
    if logger.isEnabledFor(level):
        attributes = record_attributes(payload)
        attributes["event"] = event
        logger.log(level, event, extra=attributes, exc_info=exc)


def record_attributes(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload as attributes of a log record.

    A key that a log record already has is renamed with the prefix `extra_`, since logging refuses
    it otherwise.
    """
    return {
        (f"extra_{key}" if key in RECORD_ATTRIBUTES else key): value
        for key, value in payload.items()
    }
