"""`RemoteTransport` over NATS: durable tasks, numbered answers, cancels that are true."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from enum import StrEnum
from types import TracebackType
from typing import Self

from penguiflow.durable.codec import TypeMap, ValueCodec
from penguiflow.durable.tokens import derive
from penguiflow.remote_models import (
    RemoteCallRequest,
    RemoteCallResult,
)
from penguiflow.telemetry.calls import following, observed, tell
from penguiflow.telemetry.instrument import Instrument
from penguiflow_nats.agent_janitor import forget
from penguiflow_nats.answer import Answer, NatsStreamEvent
from penguiflow_nats.call import Call, CallSite, Position
from penguiflow_nats.call_claims import CallClaims
from penguiflow_nats.call_errors import CallTenantMismatch
from penguiflow_nats.call_span import followed
from penguiflow_nats.call_streams import CallStorage, ensure_call_streams
from penguiflow_nats.call_subjects import CallNames, parse_address, task_token
from penguiflow_nats.call_wire import (
    CANCELLED,
    COMPLETED,
    END,
    EVERYTHING,
    TaskRecord,
)
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import NotConnected
from penguiflow_nats.imported import refuse_imported
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.persist import persist
from penguiflow_nats.reply_feed import Asked
from penguiflow_nats.runtime import Server, connected
from penguiflow_nats.streams import DAY
from penguiflow_nats.task_states import NOTHING, Held, StateMoved, TaskStates
from penguiflow_nats.transport_tasks import TaskMethods

_GENERATIONS = 1000
"""Tasks that one idempotency key may have used up without a result."""


_RETAIN_CANCELLED = 60.0
"""Seconds for which a cancelled task is kept: as long as somebody may still work on it."""


class CancelOutcome(StrEnum):
    """What a cancel found."""

    CANCELLED = "cancelled"
    """The task is cancelled, by this call or by an earlier one; it has no result and gets none."""
    ENDED = "ended"
    """The task had ended before, otherwise."""
    UNKNOWN = "unknown"
    """There is no such task."""


class NatsTransport(TaskMethods):
    """Calls agents on NATS. Connects at the first use; `async with` or `close` ends it. One that
    was never entered belongs to the flows whose remote nodes use it: their stop closes it.

    Addresses are `nats://<agent>` or `nats://<tenant>/<agent>`; the tenant must be the
    transport's own.

    Args:
        server: Where the server is, or a connection that the caller owns. By default what
            PENGUIFLOW_NATS_URL says, else the local server.
        tenant: Whose agents to call.
        durable: Whether `send` stores its request. Without it a call is one request and one
            reply: cheaper, but it does not outlive anybody and cannot be cancelled. Streams are
            always stored.
        types: Types that results may be of, beside those that are loaded here anyway.
        agent_wait: Seconds after which a call that nobody took is withdrawn, when no replica is
            there; None leaves it to whoever comes, until the call's own time is up.
        unreachable: Seconds for which the server may be away while a call is made.
        idle_timeout: Longest silence of an agent in seconds; None for any.
        time_to_live: Seconds after which a call without a timeout of its own ends at the agent,
            so that a caller that died leaves no task behind.
        storage: How much the streams hold and how safely, if they have to be created.
        telemetry: Observes the calls that carry no trace context; those that do are observed by
            whoever made them, such as a remote node.
    """

    def __init__(
        self,
        server: Server | None = None,
        *,
        tenant: str = "default",
        durable: bool = True,
        types: Iterable[type] = (),
        agent_wait: float | None = 5.0,
        unreachable: float = 10.0,
        idle_timeout: float | None = None,
        time_to_live: float = float(DAY),
        storage: CallStorage | None = None,
        telemetry: Instrument | None = None,
    ) -> None:
        self.tenant = tenant
        self.durable = durable
        self._server: Server = server or os.environ.get(
            "PENGUIFLOW_NATS_URL", "nats://127.0.0.1:4222"
        ).split(",")
        self._names = CallNames(tenant)
        self._codec = ValueCodec(TypeMap(types))
        self._agent_wait = agent_wait
        self._unreachable = unreachable
        self._idle_timeout = idle_timeout
        self._time_to_live = time_to_live
        self._storage = storage
        self._probe = None if telemetry is None else telemetry.calls()
        self._caller = secrets.token_hex(8)
        self._stack = contextlib.AsyncExitStack()
        self._opened: tuple[asyncio.AbstractEventLoop, CallSite] | None = None
        self._opening: asyncio.Lock | None = None
        self._entered = 0

    async def __aenter__(self) -> Self:
        self._entered += 1
        await self._site()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entered -= 1
        await self.close()

    async def release(self) -> None:
        """A flow that used the transport has stopped: close it, unless it was entered by
        `async with`, or a call is in work."""
        opened = self._opened
        if self._entered or opened is None or opened[0] is not asyncio.get_running_loop():
            return
        if not opened[1].waiting:
            await self.close()

    async def close(self) -> None:
        """End the connection unless the caller owns it. Used again, it connects again."""
        self._opened = None
        await self._stack.aclose()

    async def _site(self) -> CallSite:
        loop = asyncio.get_running_loop()
        if self._opened is not None and self._opened[0] is loop:
            return self._opened[1]
        if self._opening is None or self._opened is not None:
            self._opened, self._opening = None, asyncio.Lock()
            self._stack = contextlib.AsyncExitStack()
        async with self._opening:
            if self._opened is None:
                connection = await self._stack.enter_async_context(connected(self._server))
                self._opened = loop, await self._prepare(connection)
            return self._opened[1]

    async def _prepare(self, connection: Connection) -> CallSite:
        refuse_imported(connection, "calling an agent")
        jetstream, claims = JetStream(connection), CallClaims(connection, self._names)
        if self._storage is not None:
            claims.replicas = self._storage.replicas
        await persist(
            connection,
            lambda: ensure_call_streams(jetstream, self._names, self._storage),
            limit=self._unreachable,
        )
        return CallSite(
            names=self._names,
            jetstream=jetstream,
            states=TaskStates(jetstream, self._names, limit=self._unreachable),
            claims=claims,
            codec=self._codec,
            caller=self._caller,
            agent_wait=self._agent_wait,
            unreachable=self._unreachable,
            idle_timeout=self._idle_timeout,
            time_to_live=self._time_to_live,
        )

    # RemoteTransport

    async def send(self, request: RemoteCallRequest) -> RemoteCallResult:
        """Call and wait for the result.

        Raises:
            RemoteTaskFailed: the task failed, was cancelled or was rejected.
            RemoteTaskInputRequired, RemoteTaskAuthRequired: the task waits; another request
                with its `task_id` answers.
            NotAsked: it had waited, and somebody else answered.
            TimeoutError: no answer within `request.timeout_s`; the task is left to its deadline.
            AgentNotFound: no replica took the call; it was withdrawn.
            NatsError: the server is away for too long, or refuses.
            WireError: message or result cannot travel.
        """
        with observed(self._probe, request, streaming=False) as (carrying, _):
            return await self._send(carrying)

    async def _send(self, request: RemoteCallRequest) -> RemoteCallResult:
        call = await self._call(request)
        answer = Answer(call, request.agent_url, self._codec)
        with contextlib.closing(call):
            if not self.durable:
                return answer.result(await call.ask(request))
            call.open()
            await call.submit(request, streaming=False)
            async with aclosing(call.pieces()) as pieces:
                async for piece in pieces:
                    if isinstance(piece, TaskRecord):
                        return answer.result(piece)
                    if isinstance(piece, Asked):
                        raise answer.pause(piece)
        msg = "an answer ended without an end"
        raise RuntimeError(msg)

    async def stream(self, request: RemoteCallRequest) -> AsyncGenerator[NatsStreamEvent, None]:
        """Call and give the answer piece by piece. The first event only names the task.

        Raises:
            Exception: as `send`.
            ReplyGap: events are missing for good.
        """
        with observed(self._probe, request, streaming=True) as (carrying, span):
            events = self._stream(carrying)
            async with aclosing(events):
                async for event in events:
                    tell(self._probe, span, event)
                    yield event

    async def _stream(self, request: RemoteCallRequest) -> AsyncGenerator[NatsStreamEvent, None]:
        call = await self._call(request)
        with contextlib.closing(call):
            call.open()
            await call.submit(request, streaming=True)
            answer = Answer(call, request.agent_url, self._codec)
            yield answer.named()
            async with aclosing(call.pieces()) as pieces:
                async for piece in pieces:
                    for event in answer.events(piece):
                        yield event

    async def cancel(self, *, agent_url: str, task_id: str) -> None:
        """Cancel a task; see `cancel_task`."""
        await self.cancel_task(agent_url=agent_url, task_id=task_id)

    # More than the protocol

    async def resume(
        self,
        *,
        agent_url: str,
        task_id: str,
        after: str | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[NatsStreamEvent, None]:
        """Follow a task that exists, from any process.

        Args:
            agent_url: Where the agent is.
            task_id: The task, for instance from a `RemoteBinding`.
            after: `position` of the last event that was taken; from the beginning without it.
            timeout_s: Seconds until `TimeoutError`.

        Raises:
            UnknownTask: there is no such task.
            Exception: as `stream`.
        """
        site = await self._site()
        position = None if after is None else Position.parse(after)
        agent = self._agent(agent_url)
        call = Call(site, agent, task_id, timeout=timeout_s, after=position)
        made, epoch = None, 0 if position is None else position.epoch
        if self._probe is not None:
            made = await followed(site, agent, task_id, agent_url=agent_url)
        with following(self._probe, made, attempt=epoch) as span, contextlib.closing(call):
            call.open()
            await call.join()
            answer = Answer(call, agent_url, self._codec)
            yield answer.named()
            async with aclosing(call.pieces()) as pieces:
                async for piece in pieces:
                    for event in answer.events(piece):
                        tell(self._probe, span, event)
                        yield event

    async def cancel_task(self, *, agent_url: str, task_id: str) -> CancelOutcome:
        """Cancel a task and say what became of it; once this returns nothing changes that.

        The end is written here, so that it also holds for an agent that is away. The replica
        that works on the task is told at once, and otherwise sees it at its next heartbeat.

        Raises:
            NatsError: the server is away for too long.
        """
        site, agent = await self._site(), self._agent(agent_url)
        token = task_token(task_id)
        while True:
            held = await site.states.read(token)
            if held is not None and held.record.is_end:
                ended = held.record.state != CANCELLED
                return CancelOutcome.ENDED if ended else CancelOutcome.CANCELLED
            if held is None and not await self._is_submitted(site, agent, token):
                return CancelOutcome.UNKNOWN
            with contextlib.suppress(StateMoved):  # then look what it is now
                await self._write_cancel(site, agent, token, held)
                return CancelOutcome.CANCELLED

    async def _write_cancel(
        self, site: CallSite, agent: str, token: str, held: Held | None
    ) -> None:
        end = TaskRecord(
            kind=END,
            epoch=held.record.epoch if held is not None else 0,
            agent=agent,
            state=CANCELLED,
            events=EVERYTHING,
            error=("CANCELLED", "the caller cancelled the task"),
            retain=_RETAIN_CANCELLED,
        )
        await site.states.advance(token, end, after=held.sequence if held is not None else NOTHING)
        with contextlib.suppress(NotConnected):  # the heartbeat finds it
            site.jetstream.connection.publish(site.names.cancel(agent), token.encode())
        if held is None:
            # Nobody began: then nobody has to be given it.
            subject = site.names.request(agent, token)
            await site.jetstream.purge_stream(site.names.calls_stream, subject=subject)

    async def forget(self, *, agent_url: str, task_id: str) -> None:
        """Remove a task that is over, before its retention is. Its id is unknown from then on."""
        site = await self._site()
        await forget(site.jetstream, site.names, self._agent(agent_url), task_token(task_id))

    async def mint_task_id(self, request: RemoteCallRequest, *, attempt: int) -> str:
        """The id of the task for a request; the same for the same idempotency key, until that
        task ended without a result."""
        key = request.idempotency_key
        if key is None:
            return secrets.token_hex(16)
        agent = self._agent(request.agent_url)
        for generation in range(_GENERATIONS):
            parts = (self.tenant, agent, request.skill, key, generation)
            task_id = derive("remote task", *parts)
            if attempt == 0:
                return task_id  # nothing was asked for yet: no need to look
            site = await self._site()
            held = await site.states.read(task_token(task_id))
            if held is None or not held.record.is_end or held.record.state == COMPLETED:
                return task_id
        msg = f"{_GENERATIONS} tasks of one idempotency key ended without a result"
        raise RuntimeError(msg)

    # Parts

    def _agent(self, agent_url: str) -> str:
        tenant, agent = parse_address(agent_url)
        if tenant is not None and tenant != self.tenant:
            raise CallTenantMismatch(tenant, self.tenant, "address")
        return agent

    async def _call(self, request: RemoteCallRequest) -> Call:
        agent = self._agent(request.agent_url)
        tenant = request.message.headers.tenant
        if tenant != self.tenant:
            raise CallTenantMismatch(tenant, self.tenant, "message")
        task_id = request.task_id or await self.mint_task_id(request, attempt=0)
        return Call(await self._site(), agent, task_id, timeout=request.timeout_s)

    async def _is_submitted(self, site: CallSite, agent: str, token: str) -> bool:
        stream, subject = site.names.calls_stream, site.names.request(agent, token)
        found = await persist(
            site.jetstream.connection,
            lambda: site.jetstream.get_last(stream, subject),
            limit=site.unreachable,
        )
        return found is not None


__all__ = ["CancelOutcome", "NatsStreamEvent", "NatsTransport"]
