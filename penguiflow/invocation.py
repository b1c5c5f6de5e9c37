"""One node working on one delivery."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any, Protocol

from penguiflow.node import Node
from penguiflow.types import Message


class Delivery(Protocol):
    """A message handed to a node, to be settled exactly once, by `penguiflow.settle` alone."""

    value: Any
    """What the node is given: a `Message` or any other value."""
    trace_id: str | None
    attempt: int
    """How many attempts were made before, from 0."""
    span: Any
    """What the instrument made of the current run; unset where there is no instrument."""

    @property
    def input_id(self) -> str:
        """The identity of the input, the same in every attempt."""

    async def ack(self) -> None:
        """Settle for good."""

    async def nak(self, delay: float = 0.0, *, attempted: bool = True) -> None:
        """Deliver again after `delay` seconds; `attempted` counts this try as an attempt."""

    async def term(self, reason: str) -> None:
        """Settle for good as not processable."""


class Invocation:
    """The run of one delivery: who works on it, whether it was cancelled, what it holds."""

    __slots__ = (
        "_cancelled",
        "_chunks",
        "_closed",
        "delivery",
        "interrupted",
        "node",
        "outputs",
        "spill",
        "started",
        "streamed",
        "streamed_count",
        "task",
        "working",
    )

    def __init__(self, node: Node, delivery: Delivery, task: asyncio.Task[Any]) -> None:
        self.node: Node = node
        self.delivery: Delivery = delivery
        self.task: asyncio.Task[Any] = task
        self.started: float = 0.0
        self.working: bool = False
        """Whether the node's own code runs, and not what is around it."""
        self.outputs: list[Any] = []
        """What a durable node emitted and holds back until its record is committed."""
        self.spill: Any = None
        """The first outputs of a durable node that emitted many, on their way into objects."""
        self.streamed_count: int = 0
        """How many chunks a durable node has streamed in this run."""
        self.streamed: deque[asyncio.Task[None]] = deque()
        """Chunks of a durable node that are on their way."""
        self.interrupted: bool = False
        """The worker's task is being cancelled; the run was brought to its end all the same."""
        self._cancelled = False
        self._closed = False
        self._chunks: dict[str, int] | None = None

    @property
    def trace_id(self) -> str | None:
        return self.delivery.trace_id

    @property
    def message(self) -> Message | None:
        value = self.delivery.value
        return value if isinstance(value, Message) else None

    @property
    def cancelled(self) -> bool:
        """Whether the trace was cancelled under this run."""
        return self._cancelled

    def cancel(self) -> None:
        """Cancel the run because its trace was cancelled. Idempotent."""
        if not self._cancelled and not self._closed:
            self._cancelled = True
            self.task.cancel()

    def close(self) -> None:
        """The run has its outcome; a cancel comes too late for it."""
        self._closed = True

    def next_chunk(self, stream_id: str, seq: int | None, *, done: bool) -> int:
        """The number of the run's next chunk of a stream: from 0, anew after `done`."""
        if self._chunks is None:
            self._chunks = {}
        number = self._chunks.get(stream_id, 0) if seq is None else seq
        self._chunks[stream_id] = 0 if done else number + 1
        return number

    async def absorb_cancel(self) -> None:
        """Take back the cancellation of the task, so that the worker goes on.

        The cancel may have come when the run no longer awaited anything: then it would strike
        the worker's next await, and is caught here instead.
        """
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        self.interrupted = self.task.uncancel() > 0  # the worker itself is being stopped as well
