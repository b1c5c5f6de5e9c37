"""Answers one request by its skill: unpack, run the handler, and say how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from msgspec import Raw

from penguiflow.clock import SYSTEM_CLOCK
from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.envelope import NONE
from penguiflow.durable.wire_errors import MalformedValue, NotEncodable
from penguiflow.errors import TraceCancelled
from penguiflow.serving.flow import FlowHandler
from penguiflow.serving.handling import Failed, InputRequired
from penguiflow.types import Message
from penguiflow_nats.agent_questions import Deadline, Questions
from penguiflow_nats.agent_skills import (
    AgentContext,
    AuthRequired,
    Chunk,
    Emit,
    Rejected,
    Skill,
    call_handler,
    checked_input,
    checked_output,
)
from penguiflow_nats.call_wire import (
    CANCELLED,
    COMPLETED,
    END,
    FAILED,
    REJECTED,
    CallRequest,
    Piece,
    TaskRecord,
)
from penguiflow_nats.errors import PayloadTooLarge

_LONGEST_TEXT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answerer:
    """The skills of a replica."""

    agent: str
    instance: str
    skills: dict[str, Skill]
    flows: dict[str, FlowHandler]
    """By skill."""
    codec: ValueCodec
    retain: float

    async def answer(
        self,
        request: CallRequest,
        task: str,
        emit: Emit,
        *,
        epoch: int,
        deadline: Deadline,
        questions: Questions | None = None,
        streamed: Sequence[Piece] = (),
    ) -> Raw:
        """The packed result.

        Args:
            request: What to do.
            task: The token of the task.
            emit: Takes the pieces of a stream.
            epoch: Which attempt this is.
            deadline: When nobody waits any more.
            questions: Takes what the handler asks; None when nobody can be asked.
            streamed: What earlier replicas streamed and stays.

        Raises:
            Rejected: the request cannot be answered by anybody.
            AuthRequired: the handler needs credentials first.
            Exception: what the handler raised.
        """
        skill = self.skills.get(request.skill)
        if skill is None:
            known = ", ".join(self.skills)
            msg = f"agent {self.agent!r} has no skill {request.skill!r}; it has {known}"
            raise Rejected(msg, code="UNKNOWN_SKILL")
        message, ctx = self._unpack(request, emit, epoch, deadline)
        if questions is not None:
            credentials = tuple(questions.credentials)
            ctx = replace(ctx, _ask=questions.ask, credentials=credentials)
        if streamed:
            ctx = replace(ctx, streamed=[self._chunk(piece) for piece in streamed])
        flow = self.flows.get(request.skill)
        if flow is None:
            result = await call_handler(skill, message, ctx, emit)
        else:
            answer = await _by_flow(flow, checked_input(skill, message), task, emit, ctx)
            result = checked_output(skill, answer)
        return Raw(self.codec.pack(result, "result")) if result is not None else NONE

    def _chunk(self, piece: Piece) -> Chunk:
        meta = self.codec.unpack(piece.meta) if piece.meta != NONE else None
        return Chunk(piece.text, piece.done, meta)

    def _unpack(
        self, request: CallRequest, emit: Emit, epoch: int, deadline: Deadline
    ) -> tuple[Message, AgentContext]:
        try:
            message = self.codec.unpack_output(request.message)
            metadata: Any = self.codec.unpack(request.metadata)
        except MalformedValue as error:
            raise Rejected(str(error), code="MALFORMED") from error
        if not isinstance(message, Message):
            msg = "the request carries no Message"
            raise Rejected(msg, code="MALFORMED")
        left = deadline.left()
        if message.deadline_s is not None and left is not None:
            # The caller's clock is not ours: what counts is the time that is left.
            message.deadline_s = SYSTEM_CLOCK.now() + left
        ctx = AgentContext(
            task_id=request.task,
            skill=request.skill,
            tenant=request.tenant,
            context_id=request.context_id,
            metadata=metadata if isinstance(metadata, dict) else message.meta,
            epoch=epoch,
            traceparent=request.traceparent,
            _emit=emit,
            _left=deadline.left,
        )
        return message, ctx

    def outcome(
        self, request: CallRequest, work: asyncio.Task[Raw], *, epoch: int, events: int
    ) -> TaskRecord:
        """The end that follows from how the handler ended."""
        if work.cancelled():
            problem = (FAILED, "HANDLER_EXCEPTION", "the handler was cancelled from inside")
            return self.end(request, problem, epoch=epoch, events=events)
        error = work.exception()
        match error:
            case None:
                return self.end(request, None, epoch=epoch, events=events, result=work.result())
            case Rejected():
                problem = (REJECTED, error.code, str(error))
            case Failed():
                problem = (FAILED, error.code, str(error))
            case TraceCancelled():
                problem = (CANCELLED, "CANCELLED", "the flow cancelled the call")
            case AuthRequired():
                problem = (REJECTED, "NOT_DURABLE", "the skill needs credentials; call durably")
            case NotEncodable():
                problem = (FAILED, "NOT_ENCODABLE", str(error))
            case PayloadTooLarge():
                problem = (FAILED, "TOO_LARGE", str(error))
            case _:
                problem = (FAILED, "HANDLER_EXCEPTION", f"{type(error).__name__}: {error}")
        return self.end(request, problem, epoch=epoch, events=events)

    def end(
        self,
        request: CallRequest | None,
        problem: tuple[str, str, str] | None,
        *,
        epoch: int,
        events: int = 0,
        result: Raw = NONE,
    ) -> TaskRecord:
        """An end: of (state, code, message), or with a result."""
        state, *error = problem or (COMPLETED,)
        return TaskRecord(
            kind=END,
            epoch=epoch,
            agent=self.agent,
            instance=self.instance,
            skill=request.skill if request is not None else "",
            context_id=request.context_id if request is not None else None,
            state=state,
            result=result,
            events=events,
            error=(error[0], _short(error[1])) if error else None,
            retain=self.retain,
        )


async def _by_flow(
    flow: FlowHandler, message: Message, task: str, emit: Emit, ctx: AgentContext
) -> Any:
    """The result of a flow; what a node asks by `InputRequired` is put to the caller, and the
    answer emitted into the flow, with what led to it in `meta["resumed"]`."""
    first, answers = message.payload, list[Any]()
    if ctx.credentials:
        meta = {**message.meta, "credentials": list(ctx.credentials)}
        message = message.model_copy(update={"meta": meta})
    while True:
        try:
            return await flow.answer(message, task, emit)
        except InputRequired as needed:
            question = needed.question
        answer = await ctx.ask(question)
        resumed = {"first": first, "question": question, "answers": list(answers)}
        meta = {**message.meta, "resumed": resumed}
        message = message.model_copy(update={"payload": answer, "meta": meta})
        answers.append(answer)


def _short(text: str) -> str:
    clean = text.encode("utf-8", "backslashreplace").decode()
    return clean if len(clean) <= _LONGEST_TEXT else clean[: _LONGEST_TEXT - 3] + "..."
