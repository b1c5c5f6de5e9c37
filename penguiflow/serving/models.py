"""An order, what happens to the task that it makes, and what is known of a task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from penguiflow.remote_models import REMOTE_TERMINAL_TASK_STATES, RemoteTaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOrder:
    """What makes a task, or answers what a task asks."""

    task_id: str
    """Made by whoever serves, never by the caller; fit for `[A-Za-z0-9_-]{1,64}`."""
    owner: str
    """Who may see the task: an opaque token of the same form."""
    context_id: str
    content: bytes
    """What the handler is given, in the form of the front."""
    budget: float | None = None
    """Seconds from the moment the order was committed to the deadline; None is never."""
    key: str = ""
    """The caller's idempotency key; empty for none. Only that of an answer is compared."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What else the handler may know."""
    traceparent: str | None = None
    """The W3C trace context of whoever ordered."""


@dataclass(frozen=True, slots=True)
class Began:
    """A worker began."""

    at: float
    """Seconds since the epoch."""
    again: bool = False
    """Whether one began before it: then every piece of the task so far is void."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the text that the handler streams."""

    text: str
    done: bool = False
    meta: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """The task waits for its caller."""

    at: float
    state: RemoteTaskState
    """INPUT_REQUIRED or AUTH_REQUIRED."""
    question: Any


@dataclass(frozen=True, slots=True)
class Answered:
    """The caller answered; the task goes on."""

    at: float
    content: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The task is over; nothing follows."""

    at: float
    state: RemoteTaskState
    result: Any = None
    error: tuple[str, str] | None = None
    """(code, message) of an end without a result."""


News: TypeAlias = Began | Piece | Asked | Answered | Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSheet:
    """What is known of a task at one moment."""

    order: TaskOrder
    """The order that made it."""
    at: float
    """When the order was committed, seconds since the epoch."""
    news: tuple[News, ...] = ()
    """What happened since, in order. Pieces are left out where they were not asked for."""

    @property
    def state(self) -> RemoteTaskState:
        """Where the task stands."""
        for each in reversed(self.news):
            if isinstance(each, Asked | Ended):
                return each.state
            if isinstance(each, Began | Piece | Answered):
                return RemoteTaskState.WORKING
        return RemoteTaskState.SUBMITTED

    @property
    def changed_at(self) -> float:
        """When its state changed last, seconds since the epoch."""
        changes = (each.at for each in reversed(self.news) if not isinstance(each, Piece))
        return next(changes, self.at)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in REMOTE_TERMINAL_TASK_STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """Which tasks of an owner, newest change first."""

    context_id: str | None = None
    state: RemoteTaskState | None = None
    changed_after: float | None = None
    """Only those whose state changed at this moment or later, seconds since the epoch."""
    page_size: int = 50
    page_token: str = ""
    pieces: bool = False
    """Whether the sheets have the streamed pieces."""

    @property
    def place(self) -> int | None:
        """Behind which place the page begins; None for the first page.

        Raises:
            ValueError: the token is none of a page.
        """
        token = self.page_token
        if not token:
            return None
        if not token.isdecimal() or len(token) > 20:
            msg = f"{token[:40]!r} is no token of a page"
            raise ValueError(msg)
        return int(token)

    @property
    def is_filtered(self) -> bool:
        """Whether a task has to be looked at to know that it matches."""
        return self.state is not None or self.changed_after is not None

    def matches(self, sheet: TaskSheet) -> bool:
        """Whether a task is in the state, and changed after the moment, that is asked for. Moments
        are compared as they are told: to the millisecond."""
        if self.state is not None and sheet.state is not self.state:
            return False
        after = self.changed_after
        return after is None or math.floor(sheet.changed_at * 1000) >= round(after * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    """Some of the tasks that match a query."""

    sheets: tuple[TaskSheet, ...]
    next_token: str = ""
    """Empty on the last page."""
    total: int = 0
    """How many match."""
