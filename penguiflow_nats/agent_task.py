"""One durable task in the hands of one replica: claim it, answer it, commit its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum

import msgspec
from msgspec import Raw

from penguiflow_nats.agent_answer import Answerer
from penguiflow_nats.agent_delivery import CallDelivery
from penguiflow_nats.agent_skills import Chunk
from penguiflow_nats.call_subjects import CallNames
from penguiflow_nats.call_wire import FAILED, REJECTED, START, CallRequest, TaskRecord
from penguiflow_nats.errors import PayloadTooLarge
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.reply_publisher import ReplyPublisher
from penguiflow_nats.server_clock import ServerClock
from penguiflow_nats.task_states import NOTHING, StateMoved, TaskStates

_START_AFTER = 0.02
"""Seconds of silence after which the first epoch is announced. A shorter call has its end only."""
_PATIENCE = 5.0
"""Seconds that a handler has to end when its time is up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSite:
    """What all durable tasks of a replica share."""

    names: CallNames
    jetstream: JetStream
    states: TaskStates
    clock: ServerClock
    answerer: Answerer


class Settled(Enum):
    """What to tell the server about the request."""

    DONE = "done"
    """The task has its end."""
    LEAVE = "leave"
    """Another replica owns it: what we say counts no more, and could do harm."""
    AGAIN = "again"
    """Hand it back at once."""


class AgentTask:
    """One task, from its delivery to its end."""

    def __init__(self, site: AgentSite, task: str, delivery: CallDelivery) -> None:
        self.task = task
        self.delivery = delivery
        self.epoch = 1
        self.skill = ""
        self.end: TaskRecord | None = None
        """How it ended, when it did here."""
        self._site = site
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._after = NOTHING
        self._start: asyncio.Task[int] | None = None
        self._publisher: ReplyPublisher | None = None
        self._work: asyncio.Task[Raw] | None = None
        self._stopped: Settled | None = None

    # From outside

    def adopt(self, delivery: CallDelivery) -> None:
        """The lease ran out and the request came to us again: go on under the new one."""
        self.delivery = delivery

    def saw(self, record: TaskRecord) -> None:
        """This is the task's newest record: stop if it is not our own."""
        if record.is_end:
            self.stop(Settled.DONE)
        elif record.epoch > self.epoch:
            self.stop(Settled.LEAVE)

    def stop(self, settled: Settled) -> None:
        """End the work without a result."""
        if self._stopped is None:
            self._stopped = settled
            if self._work is not None:
                self._work.cancel()

    # The course of a task

    async def run(self, request: CallRequest) -> Settled:
        """Claim, answer, commit.

        Raises:
            NatsError: the server was away for too long; the request will be delivered again.
        """
        self.skill = request.skill
        try:
            await self._claim(request)
            end = await self._answered(request)
            if self._stopped is not None:
                return self._stopped
            await self._commit(end, request)
        except StateMoved as moved:
            return _elsewhere(moved)
        finally:
            self._clean_up()
        return Settled.DONE

    async def refuse(self, code: str, message: str, request: CallRequest | None = None) -> Settled:
        """End a task that cannot be worked on. Raises as `run`."""
        try:
            await self._claim(None)
            problem = (REJECTED, code, message)
            await self._commit(self._site.answerer.end(request, problem, epoch=self.epoch), request)
        except StateMoved as moved:
            return _elsewhere(moved)
        return Settled.DONE

    async def _claim(self, request: CallRequest | None) -> None:
        """Become the replica whose answers count, and announce it when there is a request.

        A first delivery needs no question: that nothing was written yet is checked by the first
        write. Raises `StateMoved` when the task is over, or somebody was faster.
        """
        if self.delivery.num_delivered == 1:
            return
        held = await self._site.states.read(self.task)
        if held is None:
            self.epoch = 2  # the first delivery may have sent events of epoch 1
        elif held.record.is_end:
            raise StateMoved(held)
        else:
            self.epoch, self._after = held.record.epoch + 1, held.sequence
        if request is not None:
            self._after = await self._announce(request)

    async def _announce(self, request: CallRequest) -> int:
        answerer = self._site.answerer
        start = TaskRecord(
            kind=START,
            epoch=self.epoch,
            agent=answerer.agent,
            instance=answerer.instance,
            skill=request.skill,
            context_id=request.context_id,
        )
        return await self._site.states.advance(self.task, start, after=self._after)

    def _announce_soon(self, request: CallRequest) -> None:
        """Announce the first epoch, without waiting."""
        if self.epoch == 1 and self._start is None and self._stopped is None:
            self._start = self._loop.create_task(self._announce(request))
            self._start.add_done_callback(self._announced)

    def _announced(self, start: asyncio.Task[int]) -> None:
        error = None if start.cancelled() else start.exception()
        if isinstance(error, StateMoved):
            self.stop(_elsewhere(error))

    async def _answered(self, request: CallRequest) -> TaskRecord:
        """Run the handler; gives the end to commit."""
        answerer, left = self._site.answerer, self._time_left(request)
        late = (FAILED, "DEADLINE_EXCEEDED", "the time of the call is up")
        if self._stopped is not None or (left is not None and left <= 0):
            return answerer.end(request, late, epoch=self.epoch)
        self._publisher = publisher = self._new_publisher()
        self._work = self._loop.create_task(self._work_on(request, publisher, left))
        timer = self._loop.call_later(_START_AFTER, self._announce_soon, request)
        try:
            await asyncio.wait({self._work}, timeout=left)
        finally:
            timer.cancel()
        if not self._work.done():
            self._work.cancel()
            await asyncio.wait({self._work}, timeout=_PATIENCE)
            return answerer.end(request, late, epoch=self.epoch, events=publisher.count)
        if publisher.broken is not None:
            raise publisher.broken  # nothing is known to be wrong with the call: it comes again
        return answerer.outcome(request, self._work, epoch=self.epoch, events=publisher.count)

    async def _work_on(
        self, request: CallRequest, publisher: ReplyPublisher, left: float | None
    ) -> Raw:
        async def emit(piece: Chunk) -> None:
            if request.streaming:
                self._announce_soon(request)
                await publisher.publish(piece.text, done=piece.done, meta=piece.meta)

        result = await self._site.answerer.answer(
            request, self.task, emit, epoch=self.epoch, left=left
        )
        await publisher.flush()
        return result

    def _new_publisher(self) -> ReplyPublisher:
        site = self._site
        subject = site.names.events(self.task, self.epoch)
        return ReplyPublisher(site.jetstream, site.answerer.codec, subject, epoch=self.epoch)

    def _time_left(self, request: CallRequest) -> float | None:
        if request.budget is None:
            return None
        return request.budget - self._site.clock.age(self.delivery.stored_at)

    # The end

    async def _commit(self, end: TaskRecord, request: CallRequest | None) -> None:
        if self._start is not None:
            self._after = await self._start
        if self._publisher is not None:
            await self._publisher.flush()
        end = msgspec.structs.replace(end, duration=self._loop.time() - self._began)
        try:
            await self._site.states.advance(self.task, end, after=self._after)
        except PayloadTooLarge as error:
            problem = (FAILED, "TOO_LARGE", f"the result is too large: {error}")
            answerer = self._site.answerer
            end = answerer.end(request, problem, epoch=self.epoch, events=end.events)
            await self._site.states.advance(self.task, end, after=self._after)
        self.end = end

    def _clean_up(self) -> None:
        if self._publisher is not None:
            self._publisher.abandon()
        if self._start is not None:
            self._start.cancel()


def _elsewhere(moved: StateMoved) -> Settled:
    """What to do with a task that somebody else wrote to."""
    over = moved.held is None or moved.held.record.is_end
    return Settled.DONE if over else Settled.LEAVE


__all__ = ["AgentSite", "AgentTask", "Settled"]
