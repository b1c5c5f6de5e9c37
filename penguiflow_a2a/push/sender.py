"""`PushSender`: follows tasks and tells webhooks, each in order and none waiting for another.

A job of the queue is one webhook of one task. Whoever holds it follows the task on the board, says
first how the task is, and then each event. After a restart another sender begins so too: nothing is
lost, and what a webhook is told again is the task as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections import deque
from contextlib import aclosing
from dataclasses import replace

import httpx
from a2a.types.a2a_pb2 import TaskPushNotificationConfig

from penguiflow.durable.tokens import derive
from penguiflow.serving.board import Following, TaskBoard, UnknownOrder
from penguiflow.serving.push_queue import MemoryPushQueue, PushJob, PushQueue
from penguiflow_a2a.outbound import OutboundPolicy
from penguiflow_a2a.outbound_http import http_client
from penguiflow_a2a.outbox import NOTE_PREFIX
from penguiflow_a2a.picture import Event, TaskPicture
from penguiflow_a2a.push.webhooks import NotDelivered, PushLimits, deliver, headers_of

logger = logging.getLogger("penguiflow.a2a")


class PushSender:
    """Delivers push notifications: the `push_sender` of an `A2AService`.

    Args:
        queue: Where the jobs are; in this process by default, or one that outlives it.
        policy: Which webhooks may be called: checked when they are registered and when they are
            called.
        limits: How often and for how long is tried.
        failure_texts: As of `A2AConfig`.
    """

    def __init__(
        self,
        queue: PushQueue | None = None,
        *,
        policy: OutboundPolicy | None = None,
        limits: PushLimits | None = None,
        failure_texts: bool = False,
    ) -> None:
        self.queue: PushQueue = queue if queue is not None else MemoryPushQueue()
        self.policy = policy or OutboundPolicy()
        self.limits = limits or PushLimits()
        self._failure_texts = failure_texts
        self._board: TaskBoard | None = None
        self._client: httpx.AsyncClient | None = None
        self._looking: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._working: dict[str, asyncio.Task[None]] = {}

    # PushOutbox

    async def start(self, board: TaskBoard) -> None:
        """Begin to deliver; once begun it does nothing."""
        if self._looking is not None:
            return
        self._board = board
        await self.queue.start()
        self._client = http_client(self.policy, connections=self.limits.at_once)
        self._looking = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Leave the rest to other senders, or to the next start."""
        tasks = [*self._working.values()]
        if self._looking is not None:
            tasks.append(self._looking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._looking = None
        if self._client is not None:
            await self._client.aclose()
        await self.queue.stop()

    async def check(self, config: TaskPushNotificationConfig) -> None:
        """Whether a webhook may be called. Raises `OutboundRefused`, which is a ValueError."""
        headers_of(config)
        target = await self.policy.check(config.url)
        if target.scheme not in ("http", "https"):
            msg = "its scheme is not https"
            raise ValueError(msg)

    async def watch(self, config: TaskPushNotificationConfig, *, owner: str) -> None:
        """Deliver to a webhook from now on."""
        job_id = _job_id(owner, config.task_id, config.id)
        await self._cease(job_id)
        await self.queue.put(
            PushJob(job_id=job_id, owner=owner, task_id=config.task_id, config_id=config.id)
        )
        self._news.set()

    async def unwatch(self, task_id: str, config_id: str, *, owner: str) -> None:
        """Deliver to it no more."""
        job_id = _job_id(owner, task_id, config_id)
        await self.queue.remove(job_id)
        await self._cease(job_id)

    # Jobs

    async def _cease(self, job_id: str) -> None:
        task = self._working.get(job_id)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _look(self) -> None:
        """Begin what is due, again and again."""
        while True:
            self._news.clear()
            room = self.limits.at_once - len(self._working)
            try:
                jobs = await self.queue.take(limit=room, lease=self.limits.lease) if room else []
            except Exception:
                logger.exception("push jobs cannot be looked for; trying again")
                jobs = []
            for job in jobs:
                if job.job_id not in self._working:
                    task = asyncio.create_task(self._work(job))
                    self._working[job.job_id] = task
                    task.add_done_callback(functools.partial(self._done, job.job_id))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.limits.look_every):
                    await self._news.wait()

    def _done(self, job_id: str, _: asyncio.Task[None]) -> None:
        self._working.pop(job_id, None)
        self._news.set()

    async def _work(self, job: PushJob) -> None:
        """Tell one webhook of one task, until the task is over or the webhook fails."""
        held = _Held(self.queue, job, self.limits.lease)
        renewing = asyncio.create_task(held.renew(asyncio.current_task()))
        problem: NotDelivered | None = None
        try:
            await self._tell(held)
        except UnknownOrder:
            pass  # its retention is over
        except NotDelivered as error:
            problem = error
        except asyncio.CancelledError:
            await held.release()
            raise
        except Exception as error:  # the board is away, for instance: as if the webhook were
            logger.exception("push job %s cannot be worked on", job.job_id)
            problem = NotDelivered(f"the sender failed: {type(error).__name__}")
        finally:
            renewing.cancel()
        if problem is None:
            await held.finish()
        else:
            await self._failed(held, problem)

    async def _failed(self, held: _Held, problem: NotDelivered) -> None:
        failures = held.job.failures + 1
        if problem.final or failures >= self.limits.attempts:
            logger.error("push job %s is a dead letter: %s", held.job.job_id, problem)
            await held.save(failures=failures, buried=str(problem), holder="", due=0.0)
            return
        due = time.time() + self.limits.wait(failures)
        await held.save(failures=failures, holder="", due=due)

    async def _tell(self, held: _Held) -> None:
        board, job = self._board, held.job
        assert board is not None  # noqa: S101 - started
        note = (await board.notes(job.task_id, owner=job.owner)).get(NOTE_PREFIX + job.config_id)
        if note is None:
            return
        config = TaskPushNotificationConfig.FromString(note)
        async with board.follow(job.task_id, owner=job.owner) as following:
            picture = TaskPicture(following.sheet, failure_texts=self._failure_texts)
            pending = _Pending(picture, self.limits.pending)
            over = following.sheet.is_over
            pumping = asyncio.create_task(_nothing() if over else pending.fill(following))
            try:
                await self._deliver_all(held, config, pending, pumping)
            finally:
                pumping.cancel()
                await asyncio.gather(pumping, return_exceptions=True)

    async def _deliver_all(
        self,
        held: _Held,
        config: TaskPushNotificationConfig,
        pending: _Pending,
        pumping: asyncio.Task[None],
    ) -> None:
        assert self._client is not None  # noqa: S101 - started
        while True:
            event = pending.next()
            if event is None:
                if pumping.done():
                    pumping.result()
                    if pending.next_is_none():
                        return
                    continue
                await pending.wait(pumping)
                continue
            if not await self.queue.is_held(held.job):
                return  # removed, or somebody else's
            await deliver(self._client, self.policy, config, event)
            if held.job.failures:
                await held.save(failures=0)


class _Pending:
    """Events that wait to be delivered: at most so many, then the task as it is instead."""

    def __init__(self, picture: TaskPicture, limit: int) -> None:
        self._picture = picture
        self._limit = limit
        self._events: deque[Event] = deque([picture.task()])
        self._more = asyncio.Event()

    async def fill(self, following: Following) -> None:
        async with aclosing(following.news()) as news:
            async for each in news:
                self._events.extend(self._picture.take(each))
                if len(self._events) > self._limit:
                    self._events = deque([self._picture.task()])
                self._more.set()

    def next(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def next_is_none(self) -> bool:
        return not self._events

    async def wait(self, pumping: asyncio.Task[None]) -> None:
        """Until there may be more, or there will be none."""
        self._more.clear()
        more = asyncio.ensure_future(self._more.wait())
        try:
            await asyncio.wait({more, pumping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            more.cancel()


class _Held:
    """A job that is held here."""

    def __init__(self, queue: PushQueue, job: PushJob, lease: float) -> None:
        self.job = job
        self._queue = queue
        self._lease = lease
        self._lock = asyncio.Lock()
        self._lost = False

    async def save(self, **changes: object) -> bool:
        async with self._lock:
            if self._lost:
                return False
            written = await self._queue.save(replace(self.job, **changes))  # type: ignore[arg-type]
            self._lost = written is None
            self.job = written or self.job
            return written is not None

    async def renew(self, working: asyncio.Task[None] | None) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                kept = await self.save(due=time.time() + self._lease)
            except Exception as error:  # noqa: BLE001 - the lease lasts for two more tries
                logger.warning("a push job's lease cannot be renewed: %r", error)
                continue
            if not kept and working is not None:
                working.cancel()
                return

    async def release(self) -> None:
        """Others may go on at once."""
        with contextlib.suppress(Exception):
            await self.save(holder="", due=0.0)

    async def finish(self) -> None:
        async with self._lock:
            if not self._lost:
                await self._queue.remove(self.job.job_id, revision=self.job.revision)


async def _nothing() -> None: ...


def _job_id(owner: str, task_id: str, config_id: str) -> str:
    return derive("a2a push", owner, task_id, config_id)


__all__ = ["PushSender"]
