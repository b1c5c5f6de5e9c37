"""`RemoteTransport` over A2A, whatever the binding."""

from __future__ import annotations

import asyncio
import functools
import time
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeAlias

from a2a.types.a2a_pb2 import AgentCard, AgentInterface, CancelTaskRequest, SendMessageRequest

from penguiflow.async_tasks import outlast
from penguiflow.remote_call import CANCEL_LIMIT
from penguiflow.remote_models import RemoteCallRequest, RemoteCallResult, RemoteTaskSnapshot
from penguiflow.remote_tasks import RemoteTaskFailed
from penguiflow.telemetry.calls import observed, tell
from penguiflow.telemetry.instrument import Instrument
from penguiflow_a2a.client.calls import Call, Patience
from penguiflow_a2a.client.cards import Agent, Agents
from penguiflow_a2a.client.errors import AgentRefused, AgentUnreachable, UnknownTask, told
from penguiflow_a2a.client.following import Following
from penguiflow_a2a.client.mapping import (
    A2AStreamEvent,
    problem_of,
    result_of,
    snapshot_of,
    stream_event,
)
from penguiflow_a2a.client.requests import headers_of, key_of, message_request, understands_us
from penguiflow_a2a.client.tasks import TaskMethods
from penguiflow_a2a.outbound import OutboundPolicy, check_secret
from penguiflow_a2a.parts import value_of

CredentialsOf: TypeAlias = Callable[[str, str], Mapping[str, str]]
"""Headers that prove who calls, of a tenant and the origin (`https://host:port`) that is called."""

_REMEMBERED = 4096
_GENERATIONS = 100
_LEARN_LIMIT = CANCEL_LIMIT / 2


class A2ATransport(TaskMethods):
    """Calls A2A agents; `A2AHttpTransport` and `A2AGrpcTransport` say by which bindings."""

    def __init__(
        self,
        *,
        bindings: Sequence[str],
        policy: OutboundPolicy | None,
        headers: Mapping[str, str] | None,
        agent_headers: Mapping[str, Mapping[str, str]] | None,
        credentials: CredentialsOf | None,
        tenant: str,
        timeout_s: float | None,
        patience: Patience | None,
        max_bytes: int,
        card_max_age: float,
        legacy: bool,
        telemetry: Instrument | None,
    ) -> None:
        self.policy = policy or OutboundPolicy()
        self.tenant = tenant
        self.timeout_s = timeout_s
        self.max_bytes = max_bytes
        self.patience = patience or Patience()
        self.agents = Agents(
            self.policy,
            bindings,
            fetch=self._fetch,
            connect=self._connect,
            legacy=legacy,
            max_age=card_max_age,
        )
        self._headers = dict(headers or {})
        self._agent_headers = {
            self.policy.check_url(url).origin: dict(each)
            for url, each in (agent_headers or {}).items()
        }
        self._credentials = credentials
        self._probe = None if telemetry is None else telemetry.calls()
        self._tenants: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._spent: OrderedDict[str, int] = OrderedDict()
        self._entered = 0

    @abstractmethod
    async def _fetch(self, url: str) -> Any:
        """Fetch a card."""

    @abstractmethod
    async def _connect(self, card: AgentCard, interface: AgentInterface, target: Any) -> Any:
        """The SDK's transport to an interface."""

    @abstractmethod
    async def _disconnect(self) -> None: ...

    async def __aenter__(self) -> Self:
        self._entered += 1
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
        """A flow that used the transport has stopped: close it, unless it was entered."""
        if not self._entered:
            await self.close()

    async def close(self) -> None:
        """End the connections. Used again, it connects again."""
        self.agents.clear()
        await self._disconnect()

    # RemoteTransport

    async def send(self, request: RemoteCallRequest) -> RemoteCallResult:
        """Call and wait for the result. When the wait is given up, by its time or by a cancel, the
        remote task is cancelled.

        Raises:
            RemoteTaskFailed: the task failed, was cancelled or was rejected.
            RemoteTaskInputRequired, RemoteTaskAuthRequired: the task waits; another request
                with its `task_id` answers.
            TimeoutError: no answer within `request.timeout_s`.
            AgentRefused, AgentUnreachable, UnknownTask, AnswerTooLarge: as `client.errors`.
            OutboundRefused: the policy does not allow the address.
        """
        with observed(self._probe, request, streaming=False) as (carrying, _):
            return await self._send(carrying)

    async def _send(self, request: RemoteCallRequest) -> RemoteCallResult:
        calls: list[Call] = []
        working = asyncio.ensure_future(self._finish(request, calls))
        try:
            async with asyncio.timeout(_limit(request, self.timeout_s)):
                # Not cancelled with the wait: first the task has to have a name.
                return await asyncio.shield(working)
        except (TimeoutError, asyncio.CancelledError):
            await outlast(asyncio.ensure_future(self._abandon(request, calls, working)))
            raise

    async def _finish(self, request: RemoteCallRequest, calls: list[Call]) -> RemoteCallResult:
        last = A2AStreamEvent()
        async with aclosing(self._events(request, calls)) as events:
            async for event in events:
                last = event
        return RemoteCallResult(
            last.result, last.context_id, last.task_id, request.agent_url, last.meta
        )

    async def _abandon(
        self, request: RemoteCallRequest, calls: list[Call], working: asyncio.Future[Any]
    ) -> None:
        if calls:
            naming = asyncio.ensure_future(calls[0].named.wait())
            await asyncio.wait(
                {naming, working}, timeout=_LEARN_LIMIT, return_when=asyncio.FIRST_COMPLETED
            )
            naming.cancel()
        working.cancel()
        await asyncio.wait({working}, timeout=1.0)
        if working.done() and not working.cancelled():
            working.exception()  # seen: that nobody waits any more is what counts
        task_id = calls[0].following.task_id if calls else ""
        if not task_id or calls[0].following.is_over:
            return
        try:
            async with asyncio.timeout(_LEARN_LIMIT):
                await self.cancel(agent_url=request.agent_url, task_id=task_id)
        except Exception:  # noqa: BLE001 - the deadline of the task remains
            return

    async def stream(self, request: RemoteCallRequest) -> AsyncGenerator[A2AStreamEvent, None]:
        """Call and give the answer piece by piece. The first event only names the task. Whoever
        closes the stream before its end leaves the task to go on; `cancel` ends it.

        Raises:
            Exception: as `send`.
        """
        with observed(self._probe, request, streaming=True) as (carrying, span):
            limit = _limit(carrying, self.timeout_s)
            until = None if limit is None else asyncio.get_running_loop().time() + limit
            async with aclosing(self._events(carrying, [])) as events:
                while True:
                    async with asyncio.timeout_at(until):
                        event = await anext(events, None)
                    if event is None:
                        return
                    tell(self._probe, span, event)
                    yield event

    async def _events(
        self, request: RemoteCallRequest, calls: list[Call]
    ) -> AsyncGenerator[A2AStreamEvent, None]:
        """The events of a call; the last has the result. `calls` is given the call in work."""
        agent = await self._agent(request)
        tenant = self.tenant_for(agent, request.tenant)
        ours = understands_us(agent.card)
        generation = self._spent.get(key_of(request, 0) or "", 0)
        while True:
            key = key_of(request, generation)
            call = Call(
                agent,
                Following(max_bytes=self.max_bytes, known=request.task_id is not None),
                headers=functools.partial(self._headers_of, agent, tenant, request, key),
                tenant=tenant,
                patience=self.patience,
                resend=ours and key is not None,
            )
            calls[:] = [call]
            left = _limit(request, self.timeout_s)
            content = message_request(request, key=key, tenant=tenant, left=left)
            try:
                async with aclosing(self._one(call, content, stale=ours and bool(key))) as events:
                    async for event in events:
                        yield event
                return
            except RemoteTaskFailed:
                self._remember_end(request, generation)
                raise
            except AgentUnreachable:
                self._lost(agent)
                raise
            except _Spent:
                # An earlier call with this key ended without a result: this one is another.
                generation += 1
                if generation > _GENERATIONS:
                    msg = f"{_GENERATIONS} tasks of one idempotency key ended without a result"
                    raise AgentRefused(msg) from None

    async def _one(
        self, call: Call, content: SendMessageRequest, *, stale: bool
    ) -> AsyncGenerator[A2AStreamEvent, None]:
        following, url, first = call.following, call.agent.url, True
        async with aclosing(call.sent(content)) as news:
            async for heard in news:
                if first and following.task_id:
                    self._remember(call, content)
                    state_at_first = following.task() if following.is_over else None
                    if stale and state_at_first and problem_of(state_at_first, url):
                        raise _Spent
                first = False
                event = stream_event(heard, following, url)
                if event is not None:
                    yield event
        yield self._last(call, content)

    def _last(self, call: Call, content: SendMessageRequest) -> A2AStreamEvent:
        following, url = call.following, call.agent.url
        task = following.task()
        last = A2AStreamEvent(done=True, context_id=following.context_id or None, agent_url=url)
        if following.message is not None:
            last.result = value_of(following.message.parts)
            return last
        problem = problem_of(task, url)
        if problem is not None:
            raise problem
        last.task_id, last.result = following.task_id, result_of(task)
        return last

    async def cancel(self, *, agent_url: str, task_id: str) -> None:
        """Cancel a task. One that is over, or unknown, is left as it is.

        Raises:
            AgentRefused, AgentUnreachable, OutboundRefused: it could not be asked.
        """
        try:
            await self.cancel_task(agent_url=agent_url, task_id=task_id)
        except UnknownTask:
            return

    async def cancel_task(self, *, agent_url: str, task_id: str) -> RemoteTaskSnapshot:
        """Cancel a task, and give how it is then: cancelled, or as it had ended before.

        Raises:
            UnknownTask: there is no such task.
            Exception: as `cancel`.
        """
        call = await self.call_of(agent_url, task_id)
        request = CancelTaskRequest(id=task_id, tenant=call.tenant)
        try:
            with told(agent_url):
                task = await call.agent.link.cancel_task(request, context=call.context())
        except AgentRefused as refused:
            if refused.reason != "TaskNotCancelable":
                raise
            task = await call.look(task_id)
        return snapshot_of(task, agent_url)

    # Parts

    async def _agent(self, request: RemoteCallRequest) -> Agent:
        with told(request.agent_url):
            return await self.agents.agent(request.agent_url, request.agent_card)

    def tenant_for(self, agent: Agent, tenant: str | None) -> str:
        """The tenant to send: the interface's own, else the caller's if the agent knows ours."""
        if agent.interface.tenant:
            return agent.interface.tenant
        return (tenant or self.tenant) if understands_us(agent.card) else ""

    def headers_for(self, agent: Agent, tenant: str) -> dict[str, str]:
        """Version, the headers of each request, and those that are bound to the origin."""
        found = self._bound(tenant, agent.target.origin)
        if agent.interface.protocol_binding != "GRPC":  # where the SDK says it
            found["A2A-Version"] = agent.interface.protocol_version
        return found

    def _headers_of(
        self, agent: Agent, tenant: str, request: RemoteCallRequest, key: str | None
    ) -> dict[str, str]:
        bound = self.headers_for(agent, tenant or request.tenant or self.tenant)
        return {**bound, **headers_of(request, key=key)}

    def card_headers(self, url: str) -> dict[str, str]:
        """The headers of a request for a card."""
        return self._bound(self.tenant, self.policy.check_url(url).origin)

    def _bound(self, tenant: str, origin: str) -> dict[str, str]:
        found = {**self._headers, **self._agent_headers.get(origin, {})}
        if self._credentials is not None:
            for name, value in self._credentials(tenant, origin).items():
                found[name] = check_secret(value, "a credential")
        return found

    async def call_of(self, agent_url: str, task_id: str = "") -> Call:
        """To ask for something of a task that exists, or of no task."""
        with told(agent_url):
            agent = await self.agents.agent(agent_url)
        tenant = self._tenants.get((agent_url, task_id)) or self.tenant_for(agent, None)
        return Call(
            agent,
            Following(max_bytes=self.max_bytes, known=True),
            headers=lambda: self.headers_for(agent, tenant or self.tenant),
            tenant=tenant,
            patience=self.patience,
        )

    def _remember(self, call: Call, content: SendMessageRequest) -> None:
        self._tenants[(call.agent.url, call.following.task_id)] = content.tenant
        while len(self._tenants) > _REMEMBERED:
            self._tenants.popitem(last=False)

    def _remember_end(self, request: RemoteCallRequest, generation: int) -> None:
        key = key_of(request, 0)
        if key is not None:
            self._spent[key] = generation + 1
            while len(self._spent) > _REMEMBERED:
                self._spent.popitem(last=False)

    def _lost(self, agent: Agent) -> None:
        """The agent could not be reached: next time ask for its card again."""
        self.agents.forget(agent.url)


class _Spent(Exception):
    """The task of a key had ended without a result before."""


def _limit(request: RemoteCallRequest, default: float | None) -> float | None:
    """Seconds that anybody waits."""
    limits = [request.timeout_s if request.timeout_s is not None else default]
    if request.deadline_s is not None:
        limits.append(request.deadline_s - time.time())
    found = [max(0.0, each) for each in limits if each is not None]
    return min(found) if found else None


__all__ = ["A2ATransport", "CredentialsOf"]
