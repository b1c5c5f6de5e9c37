"""One durable task in the hands of one replica: claim it, answer it, commit its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from penguiflow.serving.handling import nowhere
from penguiflow.types import Message
from penguiflow_nats.agent_delivery import CallDelivery
from penguiflow_nats.agent_questions import Deadline, Questions
from penguiflow_nats.agent_records import TaskRecords
from penguiflow_nats.agent_site import AgentSite, Settled
from penguiflow_nats.agent_skills import AuthRequired, Rejected
from penguiflow_nats.agent_span import inside
from penguiflow_nats.call_questions import Question, reply_of
from penguiflow_nats.call_wire import ANSWER, FAILED, REJECTED, CallRequest, TaskRecord
from penguiflow_nats.errors import NatsError
from penguiflow_nats.object_errors import ObjectCorrupt
from penguiflow_nats.reply_publisher import ReplyPublisher
from penguiflow_nats.task_states import Held, StateMoved

_START_AFTER = 0.02
"""Seconds of silence after which the first epoch is announced. A shorter call has its end only."""
_PATIENCE = 5.0
"""Seconds that a handler has to end when its time is up."""


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
        self.skill = ""
        self.end: TaskRecord | None = None
        """How it ended, when it did here."""
        self.ended_elsewhere: TaskRecord | None = None
        self.span: Any = None
        self._site = site
        self._loop = asyncio.get_running_loop()
        self._records = TaskRecords(site, task, moved=self._moved)
        self.takes_room = True
        """Whether it counts as in work; for whoever gives it out."""
        self._pausing = pausing
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
    def epoch(self) -> int:
        """Which attempt this is."""
        return self._records.epoch

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

    def _moved(self, moved: StateMoved) -> None:
        self.stop(Settled.elsewhere(moved))

    # The course of a task

    async def run(self, request: CallRequest) -> Settled:
        """Claim, answer, commit.

        Raises:
            NatsError: the server was away for too long; the request will be delivered again.
        """
        self.skill = request.skill
        try:
            await self._records.claim(
                request,
                num_delivered=self.delivery.num_delivered,
                waited=self._site.clock.age(self.delivery.stored_at),
                continues=request.streaming and self._continues(request),
            )
            end = await self._answered(request)
            if self._stopped is None:
                await self._commit(end, request)
            settled = self._stopped or Settled.DONE
        except StateMoved as moved:
            settled = Settled.elsewhere(moved)
        finally:
            self._clean_up()
        if settled is Settled.DONE and self._site.told is None:
            await self._release(request)
        return settled

    async def _release(self, request: CallRequest) -> None:
        with contextlib.suppress(NatsError):  # it ends by its own time as well
            await self._site.claims.release(request.message.payload)

    async def refuse(self, code: str, message: str, request: CallRequest | None = None) -> Settled:
        """End a task that cannot be worked on. Raises as `run`."""
        try:
            await self._records.claim(None, num_delivered=self.delivery.num_delivered)
            problem = (REJECTED, code, message)
            await self._commit(self._site.answerer.end(request, problem, epoch=self.epoch), request)
        except StateMoved as moved:
            return Settled.elsewhere(moved)
        return Settled.DONE

    def _continues(self, request: CallRequest) -> bool:
        skill = self._site.answerer.skills.get(request.skill)
        return skill is not None and skill.takeover == "continue"

    def _announce_soon(self, request: CallRequest) -> None:
        if self._stopped is None:
            self._records.announce_soon(request)

    async def _answered(self, request: CallRequest) -> TaskRecord:
        """Run the handler; gives the end to commit."""
        answerer, left = self._site.answerer, self._time_left(request)
        late = (FAILED, "DEADLINE_EXCEEDED", "the time of the call is up")
        if self._stopped is not None or (left is not None and left <= 0):
            kept = len(self._records.streamed)
            return answerer.end(request, late, epoch=self.epoch, events=kept)
        self._deadline.move(left)
        self._publisher = publisher = self._new_publisher(request)
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
        async def put(state: str, number: int, question: Any) -> Any:
            return await self._put(request, publisher, state, number, question)

        request = await self._whole(request)
        questions = Questions(put, await self._answers())
        answer = self._site.answerer.answer
        deadline, epoch = self._deadline, self.epoch
        while True:
            try:
                result = await answer(
                    request,
                    self.task,
                    publisher.publish if request.streaming else nowhere,
                    epoch=epoch,
                    deadline=deadline,
                    questions=questions,
                    streamed=self._records.streamed,
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
        pairs = self._records.dialogue.answered
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
        await self._records.settle()
        await publisher.flush()
        asked = Question(number, packed_question)
        answered: asyncio.Future[Held] = self._loop.create_future()
        self._waiting = number, answered
        try:
            await self._records.ask(request, asked, state=state, events=publisher.count)
            self._deadline.move(self._site.answer_wait)
            self._pausing(self)
            held = await answered
        finally:
            self._waiting = None
        self._records.answered(held)
        reply = reply_of(held.record)
        self._deadline.move(self._left_of(reply.budget, held.stored_at))
        return await self._payload(held.record)

    def _left_of(self, budget: float | None, since: float) -> float | None:
        return None if budget is None else budget - self._site.clock.age(since)

    def _new_publisher(self, request: CallRequest) -> ReplyPublisher:
        site = self._site
        return ReplyPublisher(
            site.jetstream,
            site.answerer.codec,
            site.names.events(self.task, self.epoch),
            epoch=self.epoch,
            count=len(self._records.streamed),
            in_order=self._continues(request),
        )

    def _time_left(self, request: CallRequest) -> float | None:
        dialogue, at = self._records.dialogue, self._records.answered_at
        if dialogue.open is not None:
            return request.budget  # time stood still: nobody worked while the question was open
        if dialogue.answered:
            return self._left_of(reply_of(dialogue.answered[-1][1]).budget, at)
        return self._left_of(request.budget, self.delivery.stored_at)

    # The end

    async def _commit(self, end: TaskRecord, request: CallRequest | None) -> None:
        await self._records.settle()
        if self._publisher is not None:
            await self._publisher.flush()
        self.end = await self._records.commit(end, request)

    def _clean_up(self) -> None:
        if self._publisher is not None:
            self._publisher.abandon()
        self._records.abandon()
        self._deadline.close()


__all__ = ["AgentTask"]
