"""One task in the hands of one replica: claim it, answer it, commit its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from msgspec import Raw

from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.envelope import NONE
from penguiflow.durable.wire_errors import MalformedValue, NotEncodable
from penguiflow.types import Message
from penguiflow_nats.agent_delivery import CallDelivery
from penguiflow_nats.agent_flow import FlowHandler
from penguiflow_nats.agent_skills import (
    AgentContext,
    Chunk,
    Rejected,
    Skill,
    call_handler,
    checked_input,
    checked_output,
)
from penguiflow_nats.call_subjects import CallNames
from penguiflow_nats.call_wire import (
    COMPLETED,
    END,
    FAILED,
    REJECTED,
    START,
    CallRequest,
    TaskRecord,
)
from penguiflow_nats.errors import NatsError, PayloadTooLarge
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.reply_publisher import ReplyPublisher
from penguiflow_nats.server_clock import ServerClock
from penguiflow_nats.task_states import NOTHING, StateMoved, TaskStates

_START_AFTER = 0.02
"""Seconds of silence after which the first epoch is announced. A shorter call has its end only."""
_PATIENCE = 5.0
"""Seconds that a cancelled handler has to end."""
_LONGEST_TEXT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSite:
    """What all tasks of a replica share."""

    names: CallNames
    jetstream: JetStream
    states: TaskStates
    codec: ValueCodec
    clock: ServerClock
    agent: str
    instance: str
    skills: dict[str, Skill]
    flows: dict[str, FlowHandler]
    """By skill."""
    retain: float
    max_deliveries: int


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
        self._site = site
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._after = NOTHING
        self._start: asyncio.Task[int] | None = None
        self._publisher: ReplyPublisher | None = None
        self._work: asyncio.Task[Any] | None = None
        self._stopped: Settled | None = None
        self._request: CallRequest | None = None
        self.state = ""
        """How it ended, when it did here."""
        self.error = ""

    @property
    def skill(self) -> str:
        """The skill that was asked for."""
        return self._request.skill if self._request is not None else ""

    # From outside

    def adopt(self, delivery: CallDelivery) -> None:
        """The lease ran out and the request came to us again: go on under the new one."""
        self.delivery = delivery

    def saw(self, record: TaskRecord) -> None:
        """This is the task's newest record: end here if it is not our own."""
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
        self._request = request
        try:
            await self._claim()
            end = await self._answered(request)
            if self._stopped is not None:
                return self._stopped
            await self._commit(end)
            self.state, self.error = end.state, " ".join(end.error or ())
        except StateMoved as moved:
            over = moved.held is None or moved.held.record.is_end
            return Settled.DONE if over else Settled.LEAVE
        finally:
            self._clean_up()
        return Settled.DONE

    async def refuse(self, code: str, message: str, request: CallRequest | None = None) -> Settled:
        """End a task that cannot be worked on."""
        self._request = request
        try:
            await self._claim(announce=False)
            await self._commit(self._end(REJECTED, error=(code, message)))
        except StateMoved as moved:
            over = moved.held is None or moved.held.record.is_end
            return Settled.DONE if over else Settled.LEAVE
        self.state, self.error = REJECTED, f"{code} {message}"
        return Settled.DONE

    async def _claim(self, *, announce: bool = True) -> None:
        """Become the replica whose answers count.

        A first delivery needs no question: that nothing was written yet is checked by the first
        write. Raises `StateMoved` when the task is over, or somebody was faster.
        """
        if self.delivery.num_delivered == 1:
            return
        held = await self._site.states.read(self.task)
        if held is not None:
            if held.record.is_end:
                raise StateMoved(held)
            self.epoch, self._after = held.record.epoch + 1, held.sequence
        else:
            self.epoch = 2  # the first delivery may have sent events of epoch 1
        if announce:
            self._after = await self._announce()

    async def _announce(self) -> int:
        start = TaskRecord(
            kind=START,
            epoch=self.epoch,
            agent=self._site.agent,
            instance=self._site.instance,
            skill=self.skill,
            context_id=self._request.context_id if self._request is not None else None,
        )
        return await self._site.states.advance(self.task, start, after=self._after)

    def _announce_soon(self) -> None:
        """Announce the first epoch, without waiting."""
        if self.epoch == 1 and self._start is None and self._stopped is None:
            self._start = self._loop.create_task(self._announce())
            self._start.add_done_callback(self._announced)

    def _announced(self, start: asyncio.Task[int]) -> None:
        error = None if start.cancelled() else start.exception()
        if isinstance(error, StateMoved):
            over = error.held is None or error.held.record.is_end
            self.stop(Settled.DONE if over else Settled.LEAVE)

    async def _answered(self, request: CallRequest) -> TaskRecord:
        """Run the handler; gives the end to commit."""
        if self._stopped is not None:
            return self._end(FAILED)
        left = self._time_left(request)
        if left is not None and left <= 0:
            return self._failed("DEADLINE_EXCEEDED", "nobody waits for the answer any more")
        self._publisher = self._new_publisher()
        self._work = self._loop.create_task(self._answer(request, left))
        timer = self._loop.call_later(_START_AFTER, self._announce_soon)
        try:
            await asyncio.wait({self._work}, timeout=left)
        finally:
            timer.cancel()
        if not self._work.done():
            self._work.cancel()
            await asyncio.wait({self._work}, timeout=_PATIENCE)
            return self._failed("DEADLINE_EXCEEDED", f"not done within {left:.3f} s")
        return self._outcome(self._work)

    def _new_publisher(self) -> ReplyPublisher:
        site = self._site
        subject = site.names.events(self.task, self.epoch)
        return ReplyPublisher(site.jetstream, site.codec, subject, epoch=self.epoch)

    def _time_left(self, request: CallRequest) -> float | None:
        if request.budget is None:
            return None
        return request.budget - self._site.clock.age(self.delivery.stored_at)

    async def _answer(self, request: CallRequest, left: float | None) -> Any:
        site = self._site
        skill = site.skills.get(request.skill)
        if skill is None:
            known = ", ".join(site.skills)
            msg = f"agent {site.agent!r} has no skill {request.skill!r}; it has {known}"
            raise Rejected(msg, code="UNKNOWN_SKILL")
        message, ctx = self._unpack(request, left)
        emit = self._emit_for(request)
        flow = site.flows.get(request.skill)
        if flow is None:
            result = await call_handler(skill, message, ctx, emit)
        else:
            answer = await flow.answer(checked_input(skill, message), self.task, emit)
            result = checked_output(skill, answer)
        packed = Raw(site.codec.pack(result, "result")) if result is not None else NONE
        assert self._publisher is not None  # noqa: S101 - made before this task
        await self._publisher.flush()
        return packed

    def _emit_for(self, request: CallRequest) -> Callable[[Chunk], Awaitable[None]]:
        async def emit(piece: Chunk) -> None:
            publisher = self._publisher
            if publisher is None or not request.streaming:
                return
            self._announce_soon()
            await publisher.publish(piece.text, done=piece.done, meta=piece.meta)

        return emit

    def _unpack(self, request: CallRequest, left: float | None) -> tuple[Message, AgentContext]:
        codec = self._site.codec
        try:
            message = codec.unpack_output(request.message)
            metadata = codec.unpack(request.metadata)
        except MalformedValue as error:
            raise Rejected(str(error), code="MALFORMED") from error
        if not isinstance(message, Message):
            msg = "the request carries no Message"
            raise Rejected(msg, code="MALFORMED")
        ctx = AgentContext(
            task_id=request.task,
            skill=request.skill,
            tenant=request.tenant,
            context_id=request.context_id,
            metadata=metadata if isinstance(metadata, dict) else message.meta,
            epoch=self.epoch,
            traceparent=request.traceparent,
            _emit=self._emit_for(request),
            _deadline=None if left is None else self._loop.time() + left,
        )
        return message, ctx

    # The end

    def _outcome(self, work: asyncio.Task[Any]) -> TaskRecord:
        if work.cancelled():
            return self._failed("HANDLER_EXCEPTION", "the handler was cancelled from inside")
        error = work.exception()
        match error:
            case None:
                return self._end(COMPLETED, result=work.result())
            case Rejected():
                return self._end(REJECTED, error=(error.code, _short(str(error))))
            case NotEncodable():
                return self._failed("NOT_ENCODABLE", str(error))
            case PayloadTooLarge():
                return self._failed("TOO_LARGE", str(error))
            case NatsError() if self._publisher is not None and self._publisher.broken:
                raise error  # nothing is known to be wrong with the call: it comes again
            case _:
                return self._failed("HANDLER_EXCEPTION", f"{type(error).__name__}: {error}")

    def _failed(self, code: str, message: str) -> TaskRecord:
        return self._end(FAILED, error=(code, _short(message)))

    def _end(
        self, state: str, *, result: Raw = NONE, error: tuple[str, str] | None = None
    ) -> TaskRecord:
        return TaskRecord(
            kind=END,
            epoch=self.epoch,
            agent=self._site.agent,
            instance=self._site.instance,
            skill=self.skill,
            context_id=self._request.context_id if self._request is not None else None,
            state=state,
            result=result,
            events=self._publisher.count if self._publisher is not None else 0,
            error=error,
            retain=self._site.retain,
            duration=self._loop.time() - self._began,
        )

    async def _commit(self, end: TaskRecord) -> None:
        if self._start is not None:
            self._after = await self._start
        if self._publisher is not None:
            await self._publisher.flush()
        try:
            await self._site.states.advance(self.task, end, after=self._after)
        except PayloadTooLarge as error:
            failed = self._failed("TOO_LARGE", f"the result is too large: {error}")
            await self._site.states.advance(self.task, failed, after=self._after)

    def _clean_up(self) -> None:
        if self._publisher is not None:
            self._publisher.abandon()
        if self._start is not None:
            self._start.cancel()


def _short(text: str) -> str:
    clean = text.encode("utf-8", "backslashreplace").decode()
    return clean if len(clean) <= _LONGEST_TEXT else clean[: _LONGEST_TEXT - 3] + "..."
