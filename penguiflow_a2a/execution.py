"""Runs a flow, or a function, for the messages of A2A tasks: the handler of a task board."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from a2a.types.a2a_pb2 import SendMessageRequest
from google.protobuf.json_format import MessageToDict

from penguiflow.core import DEADLINE_EXCEEDED_TEXT
from penguiflow.errors import FlowError, FlowErrorCode
from penguiflow.flow import PenguiFlow
from penguiflow.registry import ModelRegistry
from penguiflow.serving.flow import FlowHandler
from penguiflow.serving.handling import Failed, InputRequired, TaskContext
from penguiflow.telemetry.instrument import Instrument
from penguiflow.telemetry.joined import continuing
from penguiflow.types import FinalAnswer, Headers, Message
from penguiflow_a2a.config import PayloadMode
from penguiflow_a2a.outcome import pack_outcome
from penguiflow_a2a.parts import value_of

_LATE = 0.1
"""Seconds before its deadline in which a task has no time left."""

Function: TypeAlias = Callable[[Message, TaskContext], Awaitable[Any]]
"""An agent that is no flow: gives the result of a message."""


class Execution:
    """A flow or a function as the handler of tasks. Start it where tasks are worked on.

    Args:
        agent: The flow, or an async function of (message, ctx).
        mode: What the flow is given of a message.
        target: Where messages are emitted to; all ingress nodes by default.
        registry: The models of nodes that validate.
        headers: Fields of the headers, beside the tenant.
        telemetry: Observes the flow, if it has none of its own.
    """

    def __init__(
        self,
        agent: PenguiFlow | Function,
        *,
        mode: PayloadMode = PayloadMode.AUTO,
        target: Any = None,
        registry: ModelRegistry | None = None,
        headers: Mapping[str, Any] | None = None,
        telemetry: Instrument | None = None,
    ) -> None:
        self._mode = mode
        self._headers = dict(headers or {})
        self._flow: FlowHandler | None = None
        self._function: Function | None = None
        if isinstance(agent, PenguiFlow):
            self._flow = FlowHandler(agent, registry, to=target, telemetry=telemetry)
        elif inspect.iscoroutinefunction(agent):
            self._function = agent
        else:
            msg = f"{agent!r} cannot be served: give a flow or an async function of (message, ctx)"
            raise TypeError(msg)

    def start(self) -> None:
        """Run the flow unless it runs. Raises RTE when nodes are missing in the registry."""
        if self._flow is not None:
            self._flow.start()

    async def stop(self) -> None:
        """Stop the flow if it was started here."""
        if self._flow is not None:
            await self._flow.stop()

    async def __call__(self, content: bytes, ctx: TaskContext) -> Any:
        """The packed result of a message. Raises as `TaskHandler`."""
        with continuing(ctx.traceparent):
            return await self._result(content, ctx)

    async def _result(self, content: bytes, ctx: TaskContext) -> Any:
        message, answers = self._message(content, ctx), list[Any]()
        first = message.payload
        while True:
            try:
                result = await self._answer(message, ctx)
            except InputRequired as needed:
                question = needed.question
            else:
                return pack_outcome(
                    result, task_id=ctx.task_id, context_id=ctx.context_id or ctx.task_id
                )
            message = self._message(await ctx.ask(question), ctx)
            message.meta["resumed"] = {
                "first": first,
                "question": question,
                "answers": list(answers),
            }
            answers.append(message.payload)

    async def _answer(self, message: Message, ctx: TaskContext) -> Any:
        if self._flow is None:
            assert self._function is not None  # noqa: S101 - one of the two is there
            return await self._function(message, _Contents(ctx, self))

        def emit(text: str, done: bool, meta: Mapping[str, Any] | None) -> Awaitable[None]:
            return ctx.emit(text, done=done, meta=meta)

        try:
            result = await self._flow.answer(message, ctx.task_id, emit)
        except FlowError as error:
            raise Failed(error.message, code=error.code) from error
        left = ctx.remaining()
        answered_late = isinstance(result, FinalAnswer) and result.text == DEADLINE_EXCEEDED_TEXT
        if answered_late and left is not None and left < _LATE:
            reason = "the time of the task is up"
            raise Failed(reason, code=FlowErrorCode.DEADLINE_EXCEEDED)
        return result

    def payload_of(self, content: bytes) -> Any:
        """What the flow is given of a message."""
        message = SendMessageRequest.FromString(content).message
        if self._mode is PayloadMode.ENVELOPE:
            return MessageToDict(message)
        return value_of(message.parts)

    def _message(self, content: bytes, ctx: TaskContext) -> Message:
        request = SendMessageRequest.FromString(content)
        left = ctx.remaining()
        about = {
            "task_id": ctx.task_id,
            "context_id": ctx.context_id,
            "message_id": request.message.message_id,
            "principal": str(ctx.metadata.get("principal", "")),
            "metadata": MessageToDict(request.message.metadata),
            "credentials": [self.payload_of(each) for each in ctx.credentials],
        }
        message = Message(
            payload=self.payload_of(content),
            headers=Headers(**{**self._headers, "tenant": request.tenant}),
            trace_id=ctx.task_id,
            meta={"a2a": about},
        )
        if left is not None:
            message.deadline_s = message.ts + left
        return message


class _Contents:
    """A context for functions: answers are payloads, as messages are."""

    def __init__(self, ctx: TaskContext, execution: Execution) -> None:
        self._ctx = ctx
        self._execution = execution
        self.task_id = ctx.task_id
        self.context_id = ctx.context_id
        self.metadata = ctx.metadata
        self.epoch = ctx.epoch
        self.traceparent = ctx.traceparent
        self.credentials = [execution.payload_of(each) for each in ctx.credentials]

    async def emit(
        self, text: str, *, done: bool = False, meta: Mapping[str, Any] | None = None
    ) -> None:
        await self._ctx.emit(text, done=done, meta=meta)

    async def ask(self, question: Any) -> Any:
        return self._execution.payload_of(await self._ctx.ask(question))

    def remaining(self) -> float | None:
        return self._ctx.remaining()
