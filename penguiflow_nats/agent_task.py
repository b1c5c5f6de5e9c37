"""One durable task in the hands of one replica: claim it, answer it, commit its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec
from msgspec import Raw

from penguiflow.telemetry.instrument import AgentInstrument
from penguiflow.types import Message
from penguiflow_nats.agent_answer import Answerer
from penguiflow_nats.agent_delivery import CallDelivery
from penguiflow_nats.agent_questions import Deadline, Questions
from penguiflow_nats.agent_skills import AuthRequired, Chunk, Rejected
from penguiflow_nats.agent_span import inside
from penguiflow_nats.call_claims import CallClaims
from penguiflow_nats.call_questions import Dialogue, Question, packed, reply_of
from penguiflow_nats.call_subjects import CallNames
from penguiflow_nats.call_wire import (
    ANSWER,
    ASK,
    FAILED,
    REJECTED,
    START,
    CallRequest,
    TaskRecord,
)
from penguiflow_nats.errors import NatsError, PayloadTooLarge
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.object_errors import ObjectCorrupt, ObjectTooLarge
from penguiflow_nats.reply_publisher import ReplyPublisher
from penguiflow_nats.server_clock import ServerClock
from penguiflow_nats.task_states import NOTHING, Held, StateMoved, TaskStates

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
    claims: CallClaims
    clock: ServerClock
    answerer: Answerer
    answer_wait: float
    """Seconds that a task waits for the answer to a question."""
    probe: AgentInstrument | None = None


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

    def __init__(
        self,
        site: AgentSite,
        task: str,
        delivery: CallDelivery,
        *,
        pausing: Callable[[AgentTask], None],
    ) -> None:
        self.task = task
        self.delivery = delivery
        self.epoch = 1
        self.skill = ""
        self.end: TaskRecord | None = None
        """How it ended, when it did here."""
        self.ended_elsewhere: TaskRecord | None = None
        self.span: Any = None
        self._site = site
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._after = NOTHING
        self.takes_room = True
        """Whether it counts as in work; for whoever gives it out."""
        self._pausing = pausing
        self._writing: asyncio.Task[int] | None = None
        self._announced = False
        self._dialogue = Dialogue([], None)
        """What an earlier replica asked and was told."""
        self._answered_at = 0.0
        self._waiting: tuple[int, asyncio.Future[Held]] | None = None
        """The number of the question that waits for its answer."""
        self._deadline = Deadline(None)
        self._publisher: ReplyPublisher | None = None
        self._work: asyncio.Task[Raw] | None = None
        self._stopped: Settled | None = None

    # From outside

    def adopt(self, delivery: CallDelivery) -> None:
        """The lease ran out and the request came to us again: go on under the new one."""
        self.delivery = delivery

    @property
    def is_waiting(self) -> bool:
        """Whether the task waits for its caller."""
        return self._waiting is not None

    def saw(self, held: Held) -> None:
        """This is the task's newest record: take an answer; stop if somebody else wrote it."""
        record = held.record
        if record.is_end:
            self.ended_elsewhere = record
            self.stop(Settled.DONE)
        elif record.epoch > self.epoch:
            self.stop(Settled.LEAVE)
        elif record.kind == ANSWER and record.epoch == self.epoch and self._waiting is not None:
            number, answer = self._waiting
            if reply_of(record).number == number and not answer.done():
                answer.set_result(held)

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
            if self._stopped is None:
                await self._commit(end, request)
            settled = self._stopped or Settled.DONE
        except StateMoved as moved:
            settled = _elsewhere(moved)
        finally:
            self._clean_up()
        if settled is Settled.DONE:
            await self._release(request)
        return settled

    async def _release(self, request: CallRequest) -> None:
        with contextlib.suppress(NatsError):  # it ends by its own time as well
            await self._site.claims.release(request.message.payload)

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
        self._announced = True
        states = self._site.states
        held = await states.read(self.task)
        if held is None:
            self.epoch = 2  # the first delivery may have sent events of epoch 1
        elif held.record.is_end:
            raise StateMoved(held)
        else:
            self.epoch, self._after = held.record.epoch + 1, held.sequence
            history = await states.history(self.task, up_to=held.sequence)
            self._dialogue = Dialogue.of([each.record for each in history])
            answers = [each.stored_at for each in history if each.record.kind == ANSWER]
            self._answered_at = max(answers, default=0.0)
        if request is not None:
            self._after = await self._announce(request)

    async def _announce(self, request: CallRequest) -> int:
        return await self._site.states.advance(
            self.task, self._record(START, request), after=self._after
        )

    def _record(self, kind: str, request: CallRequest) -> TaskRecord:
        answerer = self._site.answerer
        return TaskRecord(
            kind=kind,
            epoch=self.epoch,
            agent=answerer.agent,
            instance=answerer.instance,
            skill=request.skill,
            context_id=request.context_id,
        )

    def _announce_soon(self, request: CallRequest) -> None:
        """Announce the first epoch, without waiting."""
        if not self._announced and self._stopped is None:
            self._announced = True
            self._write(self._announce(request))

    def _write(self, record: Coroutine[Any, Any, int]) -> None:
        """Write a record in a task of its own: the end of the work must not interrupt it, or
        nobody would know what is the newest record."""
        self._writing = self._loop.create_task(record)
        self._writing.add_done_callback(self._written)

    def _written(self, writing: asyncio.Task[int]) -> None:
        error = None if writing.cancelled() else writing.exception()
        if isinstance(error, StateMoved):
            self.stop(_elsewhere(error))

    async def _settle_writing(self) -> None:
        if self._writing is None:
            return
        try:
            self._after = await asyncio.shield(self._writing)
        except PayloadTooLarge:
            self._writing = None  # a question; nothing was written
            raise
        self._writing = None

    async def _answered(self, request: CallRequest) -> TaskRecord:
        """Run the handler; gives the end to commit."""
        answerer, left = self._site.answerer, self._time_left(request)
        late = (FAILED, "DEADLINE_EXCEEDED", "the time of the call is up")
        if self._stopped is not None or (left is not None and left <= 0):
            return answerer.end(request, late, epoch=self.epoch)
        self._deadline.move(left)
        self._publisher = publisher = self._new_publisher()
        probe = self._site.probe
        context = None if probe is None else probe.context(self.span)
        work = self._work_on(inside(request, context), publisher)
        self._work = self._loop.create_task(work, context=context)
        timer = self._loop.call_later(_START_AFTER, self._announce_soon, request)
        try:
            ends: set[asyncio.Future[Any]] = {self._work, self._deadline.reached}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        if not self._work.done():
            if self.is_waiting:
                late = (FAILED, "NOT_ANSWERED", "nobody answered what the agent asked")
            self._work.cancel()
            await asyncio.wait({self._work}, timeout=_PATIENCE)
            return answerer.end(request, late, epoch=self.epoch, events=publisher.count)
        if publisher.broken is not None:
            raise publisher.broken  # nothing is known to be wrong with the call: it comes again
        return answerer.outcome(request, self._work, epoch=self.epoch, events=publisher.count)

    async def _work_on(self, request: CallRequest, publisher: ReplyPublisher) -> Raw:
        async def emit(piece: Chunk) -> None:
            if request.streaming:
                self._announce_soon(request)
                await publisher.publish(piece.text, done=piece.done, meta=piece.meta)

        async def put(state: str, number: int, question: Any) -> Any:
            return await self._put(request, publisher, state, number, question)

        request = await self._whole(request)
        questions = Questions(put, await self._answers())
        answer = self._site.answerer.answer
        deadline, epoch = self._deadline, self.epoch
        while True:
            try:
                result = await answer(
                    request, self.task, emit, epoch=epoch, deadline=deadline, questions=questions
                )
            except AuthRequired as needed:
                await questions.authorise(needed.question)
                questions.rewind()
            else:
                await publisher.flush()
                return result

    async def _whole(self, request: CallRequest) -> CallRequest:
        """The request with its message, wherever that lies."""
        try:
            message = await self._site.claims.output(request.message)
        except ObjectCorrupt as error:
            raise Rejected(str(error), code="MALFORMED") from error
        return msgspec.structs.replace(request, message=message)

    # Questions

    async def _answers(self) -> list[tuple[str, Any]]:
        pairs = self._dialogue.answered
        return [(asked.state, await self._payload(answer)) for asked, answer in pairs]

    async def _payload(self, answer: TaskRecord) -> Any:
        answer = await self._site.claims.record(answer)
        value = self._site.answerer.codec.unpack_output(reply_of(answer).message)
        return value.payload if isinstance(value, Message) else value

    async def _put(
        self,
        request: CallRequest,
        publisher: ReplyPublisher,
        state: str,
        number: int,
        question: Any,
    ) -> Any:
        """Ask the caller and wait; gives the payload of the answer."""
        packed_question = Raw(self._site.answerer.codec.pack(question, "question"))
        self._announce_soon(request)
        await self._settle_writing()
        await publisher.flush()
        record = msgspec.structs.replace(
            self._record(ASK, request),
            state=state,
            result=packed(Question(number, packed_question)),
            events=publisher.count,
        )
        answered: asyncio.Future[Held] = self._loop.create_future()
        self._waiting = number, answered
        self._write(self._site.states.advance(self.task, record, after=self._after))
        try:
            await self._settle_writing()
            self._deadline.move(self._site.answer_wait)
            self._pausing(self)
            held = await answered
        finally:
            self._waiting = None
        self._after = held.sequence
        reply = reply_of(held.record)
        self._deadline.move(self._left_of(reply.budget, held.stored_at))
        return await self._payload(held.record)

    def _left_of(self, budget: float | None, since: float) -> float | None:
        return None if budget is None else budget - self._site.clock.age(since)

    def _new_publisher(self) -> ReplyPublisher:
        site = self._site
        subject = site.names.events(self.task, self.epoch)
        return ReplyPublisher(site.jetstream, site.answerer.codec, subject, epoch=self.epoch)

    def _time_left(self, request: CallRequest) -> float | None:
        if self._dialogue.open is not None:
            return request.budget  # time stood still: nobody worked while the question was open
        if self._dialogue.answered:
            return self._left_of(reply_of(self._dialogue.answered[-1][1]).budget, self._answered_at)
        return self._left_of(request.budget, self.delivery.stored_at)

    # The end

    async def _commit(self, end: TaskRecord, request: CallRequest | None) -> None:
        await self._settle_writing()
        if self._publisher is not None:
            await self._publisher.flush()
        duration = self._loop.time() - self._began
        try:
            kept = await self._site.claims.check_in(self.task, end.result, keep=end.retain)
            end = msgspec.structs.replace(end, result=kept, duration=duration)
            await self._site.states.advance(self.task, end, after=self._after)
        except (PayloadTooLarge, ObjectTooLarge) as error:
            problem = (FAILED, "TOO_LARGE", f"the result is too large: {error}")
            answerer = self._site.answerer
            end = answerer.end(request, problem, epoch=self.epoch, events=end.events)
            await self._site.states.advance(self.task, end, after=self._after)
        self.end = end

    def _clean_up(self) -> None:
        if self._publisher is not None:
            self._publisher.abandon()
        if self._writing is not None:
            self._writing.cancel()
        self._deadline.close()


def _elsewhere(moved: StateMoved) -> Settled:
    """What to do with a task that somebody else wrote to."""
    over = moved.held is None or moved.held.record.is_end
    return Settled.DONE if over else Settled.LEAVE


__all__ = ["AgentSite", "AgentTask", "Settled"]
