"""A transport that also takes agents by skill and version instead of by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from penguiflow.remote_models import RemoteCallRequest, RemoteCallResult
from penguiflow_nats.answer import NatsStreamEvent
from penguiflow_nats.call_errors import AgentNotFound, CallTenantMismatch
from penguiflow_nats.discovery import SkillAddress, find_agent
from penguiflow_nats.runtime import Server
from penguiflow_nats.transport import CancelOutcome, NatsTransport


class DiscoveringTransport(NatsTransport):
    """`NatsTransport` whose addresses may be `nats://?skill=<skill>&version=<version>`.

    Which agent that is, is found out at the first use and asked again after `known_for` seconds,
    or as soon as that agent is gone. `mint_task_id` writes the agent's own address into its
    request, so the bindings of a `RemoteNode` name the agent that really has the task.

    Args:
        server: As in `NatsTransport`.
        known_for: Seconds for which an answer is believed.
        options: All other options of `NatsTransport`.
    """

    def __init__(
        self, server: Server | None = None, *, known_for: float = 30.0, **options: Any
    ) -> None:
        super().__init__(server, **options)
        self._known_for = known_for
        self._known: dict[str, tuple[float, str]] = {}

    async def resolve(self, agent_url: str) -> str:
        """The address by name; one that is by name already stays as it is.

        Raises:
            AgentNotKnown: no agent has the skill.
            BadAgentAddress: the address has no known form.
            CallTenantMismatch: it is of another tenant.
            NatsError: the server cannot be asked.
        """
        wanted = SkillAddress.parse(agent_url)
        if wanted is None:
            return agent_url
        if wanted.tenant is not None and wanted.tenant != self.tenant:
            raise CallTenantMismatch(wanted.tenant, self.tenant, "address")
        now = asyncio.get_running_loop().time()
        until, address = self._known.get(agent_url, (0.0, ""))
        if now >= until:
            connection = (await self._site()).jetstream.connection
            address = await find_agent(
                connection, skill=wanted.skill, version=wanted.version, tenant=self.tenant
            )
            self._known[agent_url] = (now + self._known_for, address)
        return address

    async def send(self, request: RemoteCallRequest) -> RemoteCallResult:
        """As `NatsTransport.send`; raises as `resolve`, too."""
        found = replace(request, agent_url=await self.resolve(request.agent_url))
        try:
            return await super().send(found)
        except AgentNotFound:
            self._known.clear()
            raise

    async def stream(self, request: RemoteCallRequest) -> AsyncGenerator[NatsStreamEvent, None]:
        """As `NatsTransport.stream`; raises as `resolve`, too."""
        found = replace(request, agent_url=await self.resolve(request.agent_url))
        try:
            async with aclosing(super().stream(found)) as events:
                async for event in events:
                    yield event
        except AgentNotFound:
            self._known.clear()
            raise

    async def resume(
        self,
        *,
        agent_url: str,
        task_id: str,
        after: str | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[NatsStreamEvent, None]:
        """As `NatsTransport.resume`; raises as `resolve`, too."""
        address = await self.resolve(agent_url)
        found = super().resume(agent_url=address, task_id=task_id, after=after, timeout_s=timeout_s)
        async with aclosing(found) as events:
            async for event in events:
                yield event

    async def cancel_task(self, *, agent_url: str, task_id: str) -> CancelOutcome:
        """As `NatsTransport.cancel_task`; raises as `resolve`, too."""
        address = await self.resolve(agent_url)
        return await super().cancel_task(agent_url=address, task_id=task_id)

    async def forget(self, *, agent_url: str, task_id: str) -> None:
        """As `NatsTransport.forget`; raises as `resolve`, too."""
        await super().forget(agent_url=await self.resolve(agent_url), task_id=task_id)

    async def mint_task_id(self, request: RemoteCallRequest, *, attempt: int) -> str:
        """As `NatsTransport.mint_task_id`. The request has the agent's own address afterwards."""
        request.agent_url = await self.resolve(request.agent_url)
        return await super().mint_task_id(request, attempt=attempt)


__all__ = ["DiscoveringTransport"]
