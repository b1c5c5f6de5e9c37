"""The values that travel on edges: mutable pydantic models."""

from __future__ import annotations

import secrets
from typing import Any, Literal

from pydantic import BaseModel, Field

from penguiflow.clock import SYSTEM_CLOCK


def new_trace_id() -> str:
    """A fresh trace id: 32 lower-case hex digits, all 128 bits random.

    It is a valid W3C trace id. A uuid4 would fix six of its bits, and a ratio sampler that looks
    at the low 64 bits would then sample the wrong share.
    """
    return secrets.token_hex(16)


class Headers(BaseModel):
    """Who a message belongs to. `topic` and `priority` are for the user's own routing."""

    tenant: str
    topic: str | None = None
    priority: int = 0


class Message(BaseModel):
    """The envelope of a payload.

    `ts` and `deadline_s` are absolute Unix times in seconds. After its deadline a message is not
    processed any more; its answer is `FinalAnswer("Deadline exceeded")`.
    """

    payload: Any
    headers: Headers
    trace_id: str = Field(default_factory=new_trace_id)
    ts: float = Field(default_factory=SYSTEM_CLOCK.now)
    deadline_s: float | None = None
    meta: dict[str, Any] = Field(default_factory=dict)


class StreamChunk(BaseModel):
    """A piece of streamed text. `seq` counts from 0 within its stream."""

    stream_id: str
    seq: int
    text: str
    done: bool = False
    meta: dict[str, Any] = Field(default_factory=dict)


class PlanStep(BaseModel):
    """One step of a plan."""

    kind: Literal["retrieve", "web", "sql", "summarize", "route", "stop"]
    args: dict[str, Any] = Field(default_factory=dict)
    max_concurrency: int = 1


class Thought(BaseModel):
    """A plan: its steps and why."""

    steps: list[PlanStep]
    rationale: str
    done: bool = False


class WM(BaseModel):
    """The working memory of a controller loop, with its hop and token budgets."""

    query: str
    facts: list[Any] = Field(default_factory=list)
    hops: int = 0
    budget_hops: int | None = 8
    tokens_used: int = 0
    budget_tokens: int | None = None
    confidence: float = 0.0


class FinalAnswer(BaseModel):
    """Ends a controller loop: a message that carries it goes straight to the egress."""

    text: str
    citations: list[str] = Field(default_factory=list)


__all__ = [
    "WM",
    "FinalAnswer",
    "Headers",
    "Message",
    "PlanStep",
    "StreamChunk",
    "Thought",
    "new_trace_id",
]
