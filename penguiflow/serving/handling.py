"""What a handler of tasks is given, and how it says more than a result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from penguiflow.errors import NotRetryable


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a streamed answer, with more to say than its text."""

    text: str
    done: bool = False
    meta: Mapping[str, Any] | None = None


class Rejected(NotRetryable):
    """Raised by a handler to refuse a call: the caller is told code and message, and no retry
    of the same call would end otherwise."""

    def __init__(self, message: str, *, code: str = "REJECTED") -> None:
        super().__init__(message)
        self.code = code


class Failed(Exception):
    """Raised by a handler to fail a call with a code of its own."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class AuthRequired(NotRetryable):
    """Raised by a handler that lacks credentials. The task waits for its caller; then the handler
    is called again, and has them in `ctx.credentials`. What it streamed before stays.

    Attributes:
        question: What is needed; the caller gets it as the message of the task's status.
    """

    def __init__(self, question: Any) -> None:
        super().__init__("the task needs credentials")
        self.question = question


class InputRequired(NotRetryable):
    """Raised or returned by a node of a served flow that cannot go on without its caller. The task
    waits; the answer is emitted into the flow as a message of the same trace.

    Attributes:
        question: What is needed; the caller gets it as the message of the task's status.
    """

    def __init__(self, question: Any) -> None:
        super().__init__("the task needs input")
        self.question = question


class TaskContext(Protocol):
    """What a handler is given beside its content."""

    @property
    def task_id(self) -> str:
        """The same in every attempt, so it is fit as an idempotency key."""

    @property
    def context_id(self) -> str | None:
        """The conversation."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the order says beside its content."""

    @property
    def epoch(self) -> int:
        """Which attempt this is, from 1."""

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context of whoever ordered."""

    @property
    def credentials(self) -> Sequence[Any]:
        """What the caller answered to each `AuthRequired` of this task, the newest last."""

    async def emit(
        self, text: str, *, done: bool = False, meta: Mapping[str, Any] | None = None
    ) -> None:
        """Stream a piece of text; waits where it is not taken as fast."""

    async def ask(self, question: Any) -> Any:
        """Ask the caller, and wait for the content of the answer. A handler that is run again
        after a fault is given the answers that there are, so it must ask the same questions in
        the same order."""

    def remaining(self) -> float | None:
        """Seconds until nobody waits for the answer any more; None when there is no limit."""


TaskHandler: TypeAlias = Callable[[bytes, TaskContext], Awaitable[Any]]
"""Works on the content of an order; gives the result, of plain data. Raises `Rejected` to refuse,
`AuthRequired` for credentials, `TraceCancelled` when it was cancelled; anything else fails the
task."""

Emit: TypeAlias = Callable[[str, bool, Mapping[str, Any] | None], Awaitable[None] | None]
"""Takes a piece by its text, whether it is done, and its meta. Gives what to await before the next
piece, or None when there is nothing to wait for, as for nearly all pieces of a fast stream."""


def nowhere(text: str, done: bool, meta: Mapping[str, Any] | None) -> None:
    """Takes the pieces of a call that has no stream."""
