"""`TaskBoard` in one process, for development and tests. Nothing outlives the process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from penguiflow.clock import SYSTEM_CLOCK, Clock
from penguiflow.remote_models import RemoteTaskState
from penguiflow.serving.board import Following, NotWaiting, UnknownOrder
from penguiflow.serving.handling import TaskHandler
from penguiflow.serving.in_memory_task import InMemoryFollowing, InMemoryTask
from penguiflow.serving.models import Ended, TaskOrder, TaskPage, TaskQuery, TaskSheet
from penguiflow.telemetry.instrument import Instrument


class InMemoryTaskBoard:
    """A board in this process.

    Args:
        concurrency: Tasks in work at once.
        retain: Seconds for which a task is kept after its end.
        answer_wait: Seconds for which a task waits for an answer before it fails.
        limit: Tasks that are kept at most; beyond it those that ended first are dropped early.
        clock: Where time comes from.
    """

    def __init__(
        self,
        *,
        concurrency: int = 64,
        retain: float = 3600.0,
        answer_wait: float = 3600.0,
        limit: int = 10_000,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._concurrency = concurrency
        self._retain = retain
        self._answer_wait = answer_wait
        self._limit = limit
        self._clock = clock
        self._tasks: dict[str, InMemoryTask] = {}
        self._owners: dict[str, dict[str, InMemoryTask]] = {}
        """Tasks of each owner, in the order in which they changed."""
        self._changes = 0
        self._ended: dict[str, float] = {}
        """When to drop tasks that are over, the first one first."""
        self._handler: TaskHandler | None = None
        self._room: asyncio.Semaphore | None = None
        self._works: dict[asyncio.Task[None], InMemoryTask] = {}

    async def start(
        self, handler: TaskHandler | None = None, *, telemetry: Instrument | None = None
    ) -> None:
        """Work on what waits and on what comes."""
        self._handler = handler
        self._room = asyncio.Semaphore(self._concurrency)
        if handler is not None:
            for task in self._tasks.values():
                if not task.is_over:
                    self._work(task, handler)

    async def stop(self, *, drain: float = 30.0) -> None:
        """Finish within `drain` seconds; what is left waits for the next start."""
        self._handler = None
        if self._works and drain > 0:
            timer = asyncio.ensure_future(self._clock.sleep(drain))
            working = {work for work, task in self._works.items() if not task.is_waiting}
            while (open_works := working & self._works.keys()) and not timer.done():
                await asyncio.wait({*open_works, timer}, return_when=asyncio.FIRST_COMPLETED)
            timer.cancel()
        works = list(self._works)
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    def _work(self, task: InMemoryTask, handler: TaskHandler) -> None:
        assert self._room is not None  # noqa: S101 - made with the handler
        work = asyncio.ensure_future(task.run(handler, self._room))
        self._works[work] = task
        work.add_done_callback(self._finished)

    def _finished(self, work: asyncio.Task[None]) -> None:
        del self._works[work]
        if not work.cancelled():
            work.exception()  # it is in the task's end

    # Making and following

    @contextlib.asynccontextmanager
    async def submit(self, order: TaskOrder) -> AsyncIterator[Following]:
        """See `TaskBoard`."""
        self._sweep()
        task = self._tasks.get(order.task_id)
        if task is None:
            task = InMemoryTask(
                order, clock=self._clock, answer_wait=self._answer_wait, moved=self._moved
            )
            self._tasks[order.task_id] = task
            self._moved(task)
            if self._handler is not None:
                self._work(task, self._handler)
        yield InMemoryFollowing(task)

    @contextlib.asynccontextmanager
    async def answer(self, order: TaskOrder) -> AsyncIterator[Following]:
        """See `TaskBoard`."""
        task = self._mine(order.task_id, order.owner)
        if not task.answer(order):
            raise NotWaiting(order.task_id)
        yield InMemoryFollowing(task)

    @contextlib.asynccontextmanager
    async def follow(self, task_id: str, *, owner: str) -> AsyncIterator[Following]:
        """See `TaskBoard`."""
        yield InMemoryFollowing(self._mine(task_id, owner))

    # Looking

    def _mine(self, task_id: str, owner: str) -> InMemoryTask:
        self._sweep()
        task = self._tasks.get(task_id)
        if task is None or task.order.owner != owner:
            raise UnknownOrder(task_id)
        return task

    async def look(self, task_id: str, *, owner: str, pieces: bool = True) -> TaskSheet | None:
        """See `TaskBoard`."""
        try:
            return self._mine(task_id, owner).sheet(pieces=pieces)
        except UnknownOrder:
            return None

    async def list(self, owner: str, query: TaskQuery) -> TaskPage:
        """See `TaskBoard`."""
        self._sweep()
        before = query.place
        found: list[InMemoryTask] = []
        total = 0
        for task in reversed(self._owners.get(owner, {}).values()):
            if not _matches(task, query):
                continue
            total += 1
            if before is None or task.changed < before:
                found.append(task)
        page, more = found[: query.page_size], len(found) > query.page_size
        return TaskPage(
            sheets=tuple(task.sheet(pieces=query.pieces) for task in page),
            next_token=str(page[-1].changed) if more else "",
            total=total,
        )

    async def cancel(self, task_id: str, *, owner: str) -> TaskSheet:
        """See `TaskBoard`."""
        task = self._mine(task_id, owner)
        if not task.is_over:
            error = ("CANCELLED", "the caller cancelled the task")
            task.append(Ended(self._clock.now(), RemoteTaskState.CANCELLED, error=error))
            for work, worked_on in self._works.items():
                if worked_on is task:
                    work.cancel()
        return task.sheet()

    # Notes

    async def put_note(self, task_id: str, name: str, value: bytes, *, owner: str) -> None:
        """See `TaskBoard`."""
        self._mine(task_id, owner).notes[name] = value

    async def notes(self, task_id: str, *, owner: str) -> dict[str, bytes]:
        """See `TaskBoard`."""
        return dict(self._mine(task_id, owner).notes)

    async def delete_note(self, task_id: str, name: str, *, owner: str) -> None:
        """See `TaskBoard`."""
        self._mine(task_id, owner).notes.pop(name, None)

    # Keeping

    def _moved(self, task: InMemoryTask) -> None:
        """The task changed: it is the newest of its owner now."""
        self._changes += 1
        task.changed = self._changes
        mine = self._owners.setdefault(task.order.owner, {})
        mine.pop(task.order.task_id, None)
        mine[task.order.task_id] = task
        if task.is_over:
            self._ended[task.order.task_id] = self._clock.now() + self._retain

    def _sweep(self) -> None:
        now = self._clock.now()
        while self._ended:
            task_id, due = next(iter(self._ended.items()))
            if due > now and len(self._tasks) < self._limit:
                return
            del self._ended[task_id]
            owner = self._tasks.pop(task_id).order.owner
            del self._owners[owner][task_id]
            if not self._owners[owner]:
                del self._owners[owner]


def _matches(task: InMemoryTask, query: TaskQuery) -> bool:
    if query.context_id is not None and task.order.context_id != query.context_id:
        return False
    return not query.is_filtered or query.matches(task.sheet(pieces=False))


__all__ = ["InMemoryTaskBoard"]
