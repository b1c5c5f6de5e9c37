"""Middlewares: what is awaited with every FlowEvent of a flow."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable
from typing import Protocol

from penguiflow.events import Middleware, record_attributes
from penguiflow.metrics import FlowEvent


class LatencyCallback(Protocol):
    """Is told how long a node took, in milliseconds; sync or async."""

    def __call__(
        self, event_type: str, latency_ms: float, event: FlowEvent
    ) -> Awaitable[None] | None: ...


def log_flow_events(
    logger: logging.Logger | None = None,
    *,
    start_level: int = logging.INFO,
    success_level: int = logging.INFO,
    error_level: int = logging.ERROR,
    latency_callback: LatencyCallback | None = None,
) -> Middleware:
    """A middleware that logs the start, the success and each error of a node.

    The record's message is the event's name; its payload is in the record's attributes.

    Args:
        logger: Where to log; `penguiflow.flow` by default.
        start_level: Level of node_start.
        success_level: Level of node_success.
        error_level: Level of node_error.
        latency_callback: Called for the last two. Its failure is only logged.
    """
    log = logger if logger is not None else logging.getLogger("penguiflow.flow")
    levels = {
        "node_start": start_level,
        "node_success": success_level,
        "node_error": error_level,
    }

    async def middleware(event: FlowEvent) -> None:
        level = levels.get(event.event_type)
        if level is None:
            return
        if log.isEnabledFor(level):
            log.log(level, event.event_type, extra=record_attributes(event.to_payload()))
        if event.event_type == "node_start" or latency_callback is None:
            return
        if event.latency_ms is not None:
            await _report(latency_callback, event.latency_ms, event, log)

    return middleware


async def _report(
    callback: LatencyCallback, latency_ms: float, event: FlowEvent, log: logging.Logger
) -> None:
    try:
        waiting = callback(event.event_type, latency_ms, event)
        if inspect.isawaitable(waiting):
            await waiting
    except Exception:
        name = "log_flow_events_latency_callback_error"
        known = {
            "event": name,
            "node_name": event.node_name,
            "node_id": event.node_id,
            "trace_id": event.trace_id,
        }
        log.exception(name, extra=known)


__all__ = ["LatencyCallback", "Middleware", "log_flow_events"]
