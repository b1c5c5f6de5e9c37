"""Where a returned `Message` goes when its payload steers the flow. Pure."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from penguiflow.types import WM, FinalAnswer, Message

DEADLINE_EXCEEDED_TEXT = "Deadline exceeded"
TOKEN_BUDGET_EXCEEDED_TEXT = "Token budget exhausted"  # noqa: S105 - a text, not a secret
BUDGET_EXCEEDED_TEXT = "Hop budget exhausted"


@dataclass(frozen=True, slots=True)
class Steering:
    """Where the result goes instead of to the successors."""

    to_egress: Message | None = None
    to_self: Message | None = None


def steers(result: Message) -> bool:
    """Whether the controller rules say anything about a returned message."""
    return isinstance(result.payload, (WM, FinalAnswer))


def steer(result: Message, incoming_hops: int | None, *, loops: bool) -> Steering | None:
    """The controller rules for a returned message; None when it goes to the successors.

    A message whose deadline has passed has its answer already, see `deadline_answer`.

    Args:
        result: What the node returned.
        incoming_hops: The hops of the working memory the node was given, counted before it ran
            (a node may change the object in place); None when it was given something else.
        loops: Whether the node has an edge to itself.
    """
    payload = result.payload
    if isinstance(payload, FinalAnswer):
        return Steering(to_egress=result)
    if not isinstance(payload, WM):
        return None
    hops = _advanced(payload, incoming_hops)
    exhausted = _exhausted(payload, hops)
    if exhausted is not None:
        return Steering(to_egress=_final(result, exhausted))
    if not loops:
        return None
    again = result
    if hops != payload.hops:
        again = result.model_copy(update={"payload": payload.model_copy(update={"hops": hops})})
    unbounded = payload.budget_hops is None and payload.budget_tokens is None
    return Steering(to_egress=copy.deepcopy(again) if unbounded else None, to_self=again)


def _exhausted(memory: WM, hops: int) -> str | None:
    """The answer when a budget is used up."""
    if memory.budget_tokens is not None and memory.tokens_used >= memory.budget_tokens:
        return TOKEN_BUDGET_EXCEEDED_TEXT
    if memory.budget_hops is not None and hops >= memory.budget_hops:
        return BUDGET_EXCEEDED_TEXT
    return None


def deadline_answer(message: Message) -> Message:
    """The answer for a message whose deadline has passed: its own `FinalAnswer` or ours."""
    if isinstance(message.payload, FinalAnswer):
        return message
    return _final(message, DEADLINE_EXCEEDED_TEXT)


def hops_of(value: Any) -> int | None:
    """The hops of a working memory, bare or in a message; None for anything else."""
    payload = value.payload if isinstance(value, Message) else value
    return payload.hops if isinstance(payload, WM) else None


def _advanced(payload: WM, incoming_hops: int | None) -> int:
    if incoming_hops is not None and payload.hops <= incoming_hops:
        return incoming_hops + 1
    return payload.hops


def _final(message: Message, text: str) -> Message:
    return message.model_copy(update={"payload": FinalAnswer(text=text)})
