"""How a run ended, as its span says it. Pure."""

from __future__ import annotations

import asyncio

from penguiflow.decide import Outcome, Settlement
from penguiflow.errors import TraceCancelled
from penguiflow.remote_models import RemoteTaskAuthRequired, RemoteTaskInputRequired
from penguiflow.telemetry import conventions as c

BY_EVENT = {
    "node_error": c.FAILED,
    "node_failed": c.FAILED,
    "node_timeout": c.TIMEOUT,
    "node_retry": c.RETRY,
    "deadline_skip": c.EXPIRED,
    "trace_cancel_drop": c.CANCELLED,
    "node_trace_cancelled": c.CANCELLED,
}
"""What a FlowEvent says of its run."""

SPAN_EVENTS = frozenset(
    ("node_retry", "node_failed", "deadline_skip", "trace_cancel_drop", "node_trace_cancelled")
)
"""FlowEvents that are events of the span; the others are its begin and its end."""

TIMED_OUT = "timeout"
"""`error.type` of what took too long."""


def of_settlement(outcome: Outcome | None) -> str:
    """What the settlement says of a run that no event said anything of."""
    if outcome is None:
        return c.UNSETTLED
    match outcome.settlement:
        case Settlement.ACK:
            return c.GONE if outcome.reason else c.OK
        case Settlement.HAND_BACK:
            return c.HANDED_BACK
        case Settlement.RETRY:
            return c.RETRY
        case Settlement.DEAD:
            return c.DEAD


def error_type(error: BaseException) -> str:
    """The `error.type` of an exception: its class, as it is imported."""
    if isinstance(error, TimeoutError):
        return TIMED_OUT
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else _qualified(kind)


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def of_call(error: BaseException | None) -> tuple[str, str | None]:
    """(outcome, error type) of a call that ended so; no error type when it is no error."""
    match error:
        case None:
            return c.OK, None
        case asyncio.CancelledError() | TraceCancelled():
            return c.CANCELLED, None
        case GeneratorExit():
            return c.ABANDONED, None
        case RemoteTaskInputRequired() | RemoteTaskAuthRequired():
            return c.PAUSED, None
        case TimeoutError():
            return c.TIMEOUT, TIMED_OUT
        case _:
            return c.FAILED, error_type(error)


__all__ = ["BY_EVENT", "SPAN_EVENTS", "TIMED_OUT", "error_type", "of_call", "of_settlement"]
