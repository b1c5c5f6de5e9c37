"""Plain calls: request and reply without durability, for what is cheap and may be asked again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextvars import Context

from msgspec import Raw

from penguiflow.durable.wire_errors import WireError
from penguiflow.serving.handling import nowhere
from penguiflow_nats.agent_questions import Deadline
from penguiflow_nats.agent_site import AgentSite
from penguiflow_nats.agent_span import begin, end, inside
from penguiflow_nats.call_subjects import task_token
from penguiflow_nats.call_wire import (
    FAILED,
    REJECTED,
    CallRequest,
    TaskRecord,
    encode,
    read_request,
)
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import NatsError, PayloadTooLarge
from penguiflow_nats.incoming import Incoming
from penguiflow_nats.subscription import Subscription

QUEUE = "penguiflow"
"""Queue group of the replicas: each call goes to one of them."""

Counted = Callable[[str, float, TaskRecord], None]


class PlainCalls:
    """Takes plain calls for a replica; more than `limit` at once are refused as BUSY."""

    def __init__(
        self,
        connection: Connection,
        site: AgentSite,
        *,
        limit: int,
        counted: Counted,
    ) -> None:
        self._connection = connection
        self._names = site.names
        self._answerer = site.answerer
        self._limit = limit
        self._counted = counted
        self._probe = site.probe
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscription: Subscription | None = None

    def start(self) -> None:
        """Take calls."""
        subject = self._names.ask(self._answerer.agent)
        self._subscription = self._connection.subscribe(subject, self._heard, queue=QUEUE)

    async def stop(self, *, drain: float) -> None:
        """Take no more; finish what is in work within `drain` seconds."""
        if self._subscription is not None:
            await self._subscription.drain()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=drain)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=5.0)

    def _heard(self, message: Incoming) -> None:
        if not message.data:
            self._here(message.reply)
            return
        try:
            request = read_request(message.data)
        except WireError as error:
            self._refuse(message.reply, None, "MALFORMED", str(error))
            return
        if request.tenant != self._names.tenant or request.agent != self._answerer.agent:
            problem = "the request is of another tenant or agent than its subject"
            self._refuse(message.reply, request, "MALFORMED", problem)
        elif len(self._tasks) >= self._limit:
            problem = f"{self._limit} plain calls are in work"
            self._refuse(message.reply, request, "BUSY", problem)
        else:
            work = asyncio.get_running_loop().create_task(self._work(request, message.reply))
            self._tasks.add(work)
            work.add_done_callback(self._tasks.discard)

    def _here(self, reply: str) -> None:
        """Somebody asks whether anybody is there."""
        with contextlib.suppress(NatsError):
            if reply:
                self._connection.publish(reply)

    def _refuse(self, reply: str, request: CallRequest | None, code: str, text: str) -> None:
        self._reply(reply, self._answerer.end(request, (REJECTED, code, text), epoch=0))

    async def _work(self, request: CallRequest, reply: str) -> None:
        loop, probe, ended = asyncio.get_running_loop(), self._probe, None
        began = loop.time()
        span = None if probe is None else begin(probe, request, attempt=1)
        try:
            context = None if probe is None else probe.context(span)
            ended = await self._ended(request, context)
        finally:
            if probe is not None:
                end(probe, span, ended)
        self._reply(reply, ended)
        self._counted(request.skill, loop.time() - began, ended)

    async def _ended(self, request: CallRequest, context: Context | None) -> TaskRecord:
        """How the handler ended."""
        answer = self._answer(inside(request, context))
        answering = asyncio.get_running_loop().create_task(answer, context=context)
        try:
            await asyncio.wait({answering}, timeout=request.budget)
        finally:
            if not answering.done():
                answering.cancel()
        if answering.done():
            return self._answerer.outcome(request, answering, epoch=0, events=0)
        problem = (FAILED, "DEADLINE_EXCEEDED", "the time of the call is up")
        return self._answerer.end(request, problem, epoch=0)

    async def _answer(self, request: CallRequest) -> Raw:
        token = task_token(request.task)
        deadline = Deadline(request.budget)
        try:
            return await self._answerer.answer(request, token, nowhere, epoch=0, deadline=deadline)
        finally:
            deadline.close()

    def _reply(self, reply: str, end: TaskRecord) -> None:
        if not reply:
            return
        try:
            self._connection.publish(reply, encode(end))
        except PayloadTooLarge as error:
            problem = (FAILED, "TOO_LARGE", f"the result is too large: {error}")
            self._connection.publish(reply, encode(self._answerer.end(None, problem, epoch=0)))
        except NatsError:
            return  # plain calls promise nothing: whoever asked will time out
