"""One call of an agent: what is heard of its task until that is over, whatever breaks meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from a2a.client.client import ClientCallContext
from a2a.types.a2a_pb2 import (
    GetTaskRequest,
    SendMessageRequest,
    StreamResponse,
    SubscribeToTaskRequest,
)

from penguiflow_a2a.client.cards import Agent
from penguiflow_a2a.client.errors import AgentRefused, AgentUnreachable, told
from penguiflow_a2a.client.following import Following, Heard


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited, in seconds, and how often tried again."""

    unary: float = 30.0
    """For a request with one answer."""
    silence: float = 90.0
    """For the next event of a stream; then the task is subscribed to again."""
    attempts: int = 8
    """To follow a task again after its stream broke, in a row."""
    first_wait: float = 0.1
    longest_wait: float = 5.0
    first_poll: float = 0.02
    longest_poll: float = 2.0
    """Between two looks at a task of an agent that does not stream."""

    def wait(self, attempt: int) -> float:
        """Before an attempt, from 1: jittered, so that not all callers come back at once."""
        most = min(self.first_wait * 2.0 ** (attempt - 1), self.longest_wait)
        return random.uniform(most / 2, most)  # noqa: S311 - not a secret


class Call:
    """Follows one task of an agent.

    Args:
        agent: Whose.
        following: What is known of the task.
        headers: Gives those of each request.
        tenant: Of each request.
        patience: How long is waited.
        resend: Whether the message may be sent again when nothing was heard of it: its key names
            one task.
    """

    def __init__(
        self,
        agent: Agent,
        following: Following,
        *,
        headers: Callable[[], dict[str, str]],
        tenant: str,
        patience: Patience,
        resend: bool = False,
    ) -> None:
        self.agent = agent
        self.following = following
        self.named = asyncio.Event()
        """Set when the task has a name, or is known to get none."""
        self._headers = headers
        self.tenant = tenant
        self._patience = patience
        self._resend = resend

    def context(self, timeout: float | None = None) -> ClientCallContext:
        """Of a request."""
        seconds = self._patience.unary if timeout is None else timeout
        return ClientCallContext(timeout=seconds, service_parameters=self._headers())

    async def sent(self, request: SendMessageRequest) -> AsyncGenerator[Heard, None]:
        """Send a message, and give what is heard until its task is over, or waits.

        Raises:
            AgentRefused, AgentUnreachable, UnknownTask, AnswerTooLarge, OutboundRefused.
        """
        try:
            first = self._begin(request)
            async with aclosing(self._heard(first, again=request, until_over=False)) as news:
                async for heard in news:
                    self.named.set()
                    yield heard
        finally:
            self.named.set()

    async def followed(self, task_id: str) -> AsyncGenerator[Heard, None]:
        """Give what is heard of a task that exists, until it is over. Raises as `sent`."""
        first = self._task_again(task_id)
        async with aclosing(self._heard(first, again=None, until_over=True)) as news:
            async for heard in news:
                yield heard

    # Streams

    async def _heard(
        self,
        first: AsyncGenerator[StreamResponse, None],
        *,
        again: SendMessageRequest | None,
        until_over: bool,
    ) -> AsyncGenerator[Heard, None]:
        following, events, attempt = self.following, first, 0
        while True:
            problem: AgentUnreachable | None = None
            try:
                async with aclosing(events):
                    while (event := await self._next(events)) is not None:
                        attempt = 0
                        for heard in following.take(event):
                            yield heard
                        if following.is_over or (following.is_settled and not until_over):
                            return
            except AgentUnreachable as error:
                problem = error
            attempt += 1
            if attempt > self._patience.attempts:
                msg = f"agent {self.agent.url} broke off {attempt} times in a row"
                raise problem or AgentUnreachable(msg)
            if not following.task_id and (again is None or not self._resend):
                msg = f"agent {self.agent.url} broke off before it named a task"
                raise problem or AgentUnreachable(msg)
            await asyncio.sleep(self._patience.wait(attempt))
            if following.task_id:
                events = self._task_again(following.task_id)
            else:
                assert again is not None  # noqa: S101 - see above
                events = self._begin(again)

    async def _next(self, events: AsyncGenerator[StreamResponse, None]) -> StreamResponse | None:
        try:
            async with asyncio.timeout(self._patience.silence):
                return await anext(events, None)
        except TimeoutError as error:
            msg = f"agent {self.agent.url} is silent for {self._patience.silence:g} s"
            raise AgentUnreachable(msg) from error

    def _begin(self, request: SendMessageRequest) -> AsyncGenerator[StreamResponse, None]:
        streams = self.agent.card.capabilities.streaming
        return self._stream_of(request) if streams else self._answer_of(request)

    def _streaming(self) -> ClientCallContext:
        """Of a stream. Over HTTP the time is that of silence; gRPC would take it for the whole."""
        context = self.context(self._patience.silence)
        if self.agent.interface.protocol_binding == "GRPC":
            context.timeout = None
        return context

    async def _stream_of(self, request: SendMessageRequest) -> AsyncGenerator[StreamResponse, None]:
        context = self._streaming()
        with told(self.agent.url):
            async with aclosing(
                self.agent.link.send_message_streaming(request, context=context)
            ) as events:
                async for event in events:
                    yield event

    async def _answer_of(self, request: SendMessageRequest) -> AsyncGenerator[StreamResponse, None]:
        """The same of an agent that does not stream: ask it not to wait, so that the task has a
        name that can be cancelled, then look at it again and again."""
        request.configuration.return_immediately = True
        with told(self.agent.url):
            answer = await self.agent.link.send_message(request, context=self.context())
        if answer.HasField("message"):
            yield StreamResponse(message=answer.message)
            return
        yield StreamResponse(task=answer.task)
        async with aclosing(self._looks(answer.task.id)) as looks:
            async for each in looks:
                yield each

    async def _looks(self, task_id: str) -> AsyncGenerator[StreamResponse, None]:
        wait = self._patience.first_poll
        while True:
            await asyncio.sleep(wait)
            wait = min(wait * 1.5, self._patience.longest_poll)
            yield StreamResponse(task=await self.look(task_id))

    async def _task_again(self, task_id: str) -> AsyncGenerator[StreamResponse, None]:
        if not self.agent.card.capabilities.streaming:
            yield StreamResponse(task=await self.look(task_id))
            async with aclosing(self._looks(task_id)) as looks:
                async for each in looks:
                    yield each
            return
        context = self._streaming()
        request = SubscribeToTaskRequest(id=task_id, tenant=self.tenant)
        try:
            with told(self.agent.url):
                async with aclosing(self.agent.link.subscribe(request, context=context)) as events:
                    async for event in events:
                        yield event
        except AgentRefused as refused:
            if refused.reason != "UnsupportedOperation":
                raise
            yield StreamResponse(task=await self.look(task_id))  # over meanwhile

    async def look(self, task_id: str, *, history: int | None = None) -> Any:
        """The task as it is."""
        request = GetTaskRequest(id=task_id, tenant=self.tenant)
        if history is not None:
            request.history_length = history
        with told(self.agent.url):
            return await self.agent.link.get_task(request, context=self.context())


__all__ = ["Call", "Patience"]
