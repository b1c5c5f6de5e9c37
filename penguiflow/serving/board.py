"""`TaskBoard`: what a front needs so that its tasks outlive it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from penguiflow.serving.handling import TaskHandler
from penguiflow.serving.models import News, TaskOrder, TaskPage, TaskQuery, TaskSheet
from penguiflow.telemetry.instrument import Instrument


class UnknownOrder(LookupError):
    """There is no such task of this owner: it never was, or its retention is over."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"no task {task_id[:100]!r}")
        self.task_id = task_id


class NotWaiting(RuntimeError):
    """A task that waits for nothing was answered: it works, is over, or others were faster."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"task {task_id[:100]!r} waits for no answer")
        self.task_id = task_id


class OrderTooLarge(ValueError):
    """An order holds more than the board takes."""


class Following(Protocol):
    """A task that somebody follows."""

    @property
    def sheet(self) -> TaskSheet:
        """The task as it was when the following began."""

    def news(self) -> AsyncGenerator[News, None]:
        """Everything that happens after `sheet`: each once, in the order that all followers see,
        without a gap; ends with `Ended`. To be called once.

        Raises:
            Exception: the board cannot be read for too long.
        """


class TaskBoard(Protocol):
    """Tasks of one handler: committed before they are answered, worked on by any worker, followed
    and cancelled from anywhere.

    Guarantees:
        * What `submit` and `answer` returned is committed: it survives whoever called.
        * A task has one end. One with a deadline has it soon after the deadline at the latest,
          whoever died: whoever looks then finds it FAILED.
        * A handler may run more than once for one task, one after the other; what only one of the
          runs streamed is void when the next one begins, and only one result counts.
        * An owner is given its own tasks only; others are unknown.
    """

    async def start(
        self, handler: TaskHandler | None = None, *, telemetry: Instrument | None = None
    ) -> None:
        """Be ready. With a handler, work on tasks here too; `telemetry` observes that work."""

    async def stop(self, *, drain: float = 30.0) -> None:
        """Finish what is in work within `drain` seconds, leave the rest to others."""

    def submit(self, order: TaskOrder) -> AbstractAsyncContextManager[Following]:
        """Commit a task and follow it. An order whose task exists makes none: the task as it is.

        Raises:
            OrderTooLarge: it does not fit.
        """

    def answer(self, order: TaskOrder) -> AbstractAsyncContextManager[Following]:
        """Commit the answer to what a task asks, and follow it from there on.

        Raises:
            UnknownOrder: the owner has no such task.
            NotWaiting: it waits for nothing.
            OrderTooLarge: it does not fit.
        """

    def follow(self, task_id: str, *, owner: str) -> AbstractAsyncContextManager[Following]:
        """Follow a task from how it is now. Raises `UnknownOrder`."""

    async def look(self, task_id: str, *, owner: str, pieces: bool = True) -> TaskSheet | None:
        """The task as it is; None when the owner has none of that id."""

    async def list(self, owner: str, query: TaskQuery) -> TaskPage:
        """Tasks of the owner, newest change first. Raises ValueError for a token of none."""

    async def cancel(self, task_id: str, *, owner: str) -> TaskSheet:
        """Cancel a task, wherever it is worked on; gives how it is then: CANCELLED, or as it had
        ended before. Running code is stopped.

        Raises:
            UnknownOrder: the owner has no such task.
        """

    # Notes: small values that belong to a task and go with it.

    async def put_note(self, task_id: str, name: str, value: bytes, *, owner: str) -> None:
        """Write a note, or write over it. Raises `UnknownOrder`."""

    async def notes(self, task_id: str, *, owner: str) -> dict[str, bytes]:
        """All notes of a task by name. Raises `UnknownOrder`."""

    async def delete_note(self, task_id: str, name: str, *, owner: str) -> None:
        """Remove a note, if it is there. Raises `UnknownOrder`."""
