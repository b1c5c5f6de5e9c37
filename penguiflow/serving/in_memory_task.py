"""One task of an in-memory board: its log, its run, and those who follow it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penguiflow.clock import Clock
from penguiflow.errors import TraceCancelled
from penguiflow.remote_models import RemoteTaskState
from penguiflow.serving.handling import AuthRequired, Failed, Rejected, TaskHandler
from penguiflow.serving.models import (
    Answered,
    Asked,
    Began,
    Ended,
    News,
    Piece,
    TaskOrder,
    TaskSheet,
)

_TOGETHER = 16
"""Pieces after which a handler that never waits lets those who follow it run."""


class InMemoryTask:
    """A task, from its order to its end."""

    def __init__(
        self,
        order: TaskOrder,
        *,
        clock: Clock,
        answer_wait: float,
        moved: Callable[[InMemoryTask], None],
    ) -> None:
        self.order = order
        self.changed = 0
        """Number of its newest change, among all changes of the board."""
        self.notes: dict[str, bytes] = {}
        self.log: list[News] = []
        self._clock = clock
        self._answer_wait = answer_wait
        self._moved = moved
        self._at = clock.now()
        self._news = asyncio.Event()
        self._deadline = None if order.budget is None else self._at + order.budget
        self._open: asyncio.Future[bytes] | None = None
        self._answers: list[tuple[RemoteTaskState, TaskOrder]] = []
        self._epoch = 0

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return bool(self.log) and isinstance(self.log[-1], Ended)

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for its caller."""
        return self._open is not None

    def sheet(self, *, pieces: bool = True) -> TaskSheet:
        """The task as it is."""
        news = self.log if pieces else [each for each in self.log if not isinstance(each, Piece)]
        return TaskSheet(order=self.order, at=self._at, news=tuple(news))

    def append(self, news: News) -> None:
        """Something happened. Nothing does after the end."""
        if self.is_over:
            return
        self.log.append(news)
        if not isinstance(news, Piece):
            self._moved(self)
        self._news.set()
        self._news = asyncio.Event()

    async def beyond(self, count: int) -> None:
        """Wait until more than `count` things happened."""
        while len(self.log) <= count:
            await self._news.wait()

    def answer(self, order: TaskOrder) -> bool:
        """Take an answer; whether it is one, or was one before."""
        if order.key and any(order.key == given.key for _, given in self._answers):
            return True
        asked = self.log[-1] if self.log else None
        if self._open is None or self._open.done() or not isinstance(asked, Asked):
            return False
        self._answers.append((asked.state, order))
        self._deadline = None if order.budget is None else self._clock.now() + order.budget
        self.append(Answered(self._clock.now(), order.content))
        self._open.set_result(order.content)
        return True

    # The run

    async def run(self, handler: TaskHandler, room: asyncio.Semaphore) -> None:
        """Work on it to its end."""
        work = asyncio.ensure_future(self._work(handler, room))
        try:
            await self._within_time(work)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _within_time(self, work: asyncio.Future[None]) -> None:
        while not work.done():
            left = self._left()
            timer = asyncio.ensure_future(self._clock.sleep(3600.0 if left is None else left))
            await asyncio.wait({work, timer}, return_when=asyncio.FIRST_COMPLETED)
            timer.cancel()
            if not work.done() and (left := self._left()) is not None and left <= 0:
                reason = ("DEADLINE_EXCEEDED", "the time of the task is up")
                if self.is_waiting:
                    reason = ("NOT_ANSWERED", "nobody answered what the task asked")
                self.append(Ended(self._clock.now(), RemoteTaskState.FAILED, error=reason))
                return

    def _left(self) -> float | None:
        return None if self._deadline is None else self._deadline - self._clock.now()

    async def _work(self, handler: TaskHandler, room: asyncio.Semaphore) -> None:
        async with room:
            self._epoch += 1
            self.append(Began(self._clock.now(), again=self._epoch > 1))
            credentials: list[Any] = []
            inputs: list[Any] = []
            for state, order in self._answers:
                authorises = state is RemoteTaskState.AUTH_REQUIRED
                (credentials if authorises else inputs).append(order.content)
            while True:
                ctx = _Context(self, room, credentials=credentials, inputs=inputs)
                try:
                    end = await self._outcome(handler, ctx)
                except AuthRequired as needed:
                    asked = RemoteTaskState.AUTH_REQUIRED
                    credentials.append(await self.ask(asked, needed.question, room))
                else:
                    self.append(end)
                    return

    async def _outcome(self, handler: TaskHandler, ctx: _Context) -> Ended:
        state, result = RemoteTaskState.COMPLETED, None
        error: tuple[str, str] | None = None
        try:
            result = await handler(self.order.content, ctx)
        except AuthRequired:
            raise
        except Rejected as refusal:
            state, error = RemoteTaskState.REJECTED, (refusal.code, str(refusal))
        except Failed as failure:
            state, error = RemoteTaskState.FAILED, (failure.code, str(failure))
        except TraceCancelled:
            reason = "the flow cancelled the call"
            state, error = RemoteTaskState.CANCELLED, ("CANCELLED", reason)
        except Exception as problem:  # noqa: BLE001 - whatever it is, it is the task's end
            text = f"{type(problem).__name__}: {problem}"
            state, error = RemoteTaskState.FAILED, ("HANDLER_EXCEPTION", text)
        return Ended(self._clock.now(), state, result, error)

    async def ask(self, state: RemoteTaskState, question: Any, room: asyncio.Semaphore) -> bytes:
        """Ask the caller and wait, without taking up room."""
        self._open = asyncio.get_running_loop().create_future()
        self._deadline = self._clock.now() + self._answer_wait
        self.append(Asked(self._clock.now(), state, question))
        room.release()
        try:
            return await self._open
        finally:
            self._open = None
            await room.acquire()


@dataclass(slots=True)
class _Context:
    """What the handler of one run is given."""

    _task: InMemoryTask
    _room: asyncio.Semaphore
    credentials: Sequence[Any] = ()
    inputs: list[Any] = field(default_factory=list)
    _asked: int = 0

    @property
    def task_id(self) -> str:
        return self._task.order.task_id

    @property
    def context_id(self) -> str | None:
        return self._task.order.context_id

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self._task.order.metadata

    @property
    def epoch(self) -> int:
        return self._task._epoch  # noqa: SLF001 - its own task

    @property
    def traceparent(self) -> str | None:
        return self._task.order.traceparent

    async def emit(
        self, text: str, *, done: bool = False, meta: Mapping[str, Any] | None = None
    ) -> None:
        self._task.append(Piece(text, done, meta))
        if len(self._task.log) % _TOGETHER == 0:
            await asyncio.sleep(0)  # those who follow keep up

    async def ask(self, question: Any) -> Any:
        number, self._asked = self._asked, self._asked + 1
        if number >= len(self.inputs):
            state = RemoteTaskState.INPUT_REQUIRED
            self.inputs.append(await self._task.ask(state, question, self._room))
        return self.inputs[number]

    def remaining(self) -> float | None:
        left = self._task._left()  # noqa: SLF001 - its own task
        return None if left is None else max(0.0, left)


class InMemoryFollowing:
    """Somebody who follows a task: a place in its log, nothing more."""

    def __init__(self, task: InMemoryTask) -> None:
        self._task = task
        self.sheet: TaskSheet = task.sheet()
        self._place = len(task.log)

    async def news(self) -> AsyncGenerator[News, None]:
        """See `Following`."""
        while True:
            while self._place < len(self._task.log):
                news = self._task.log[self._place]
                self._place += 1
                yield news
            if self._task.is_over:
                return
            await self._task.beyond(self._place)


__all__ = ["InMemoryFollowing", "InMemoryTask"]
