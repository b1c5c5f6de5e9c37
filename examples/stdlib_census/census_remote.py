"""The node that calls the summarising agent."""

from __future__ import annotations

from typing import Any

from census_names import AGENT, SKILL, TENANT

from penguiflow import Node, NodePolicy
from penguiflow.context import Context
from penguiflow.endpoints import ROOKERY
from penguiflow.remote_node import RemoteNode
from penguiflow.types import StreamChunk
from penguiflow_nats.transport import NatsTransport


def summarising_agent(name: str) -> Node:
    """A remote node whose words go to whoever follows the trace, not to the next node."""
    # Where the server is the transport takes from PENGUIFLOW_NATS_URL, at its first call.
    remote = RemoteNode(
        transport=NatsTransport(tenant=TENANT, agent_wait=30.0),
        skill=SKILL,
        agent_url=f"nats://{AGENT}",
        name=name,
        policy=NodePolicy(validate="none", max_retries=8, timeout_s=60.0, max_backoff=5.0),
        streaming=True,
    )

    async def call(message: Any, ctx: Context) -> Any:
        return await remote.func(message, _Live(ctx))

    return Node(call, name=name, policy=remote.policy)


class _Live:
    """A context whose chunks go to the egress, live.

    By default the chunks of a node go where its result goes, and the next node would get every
    word as a message of its own.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def emit_chunk(self, **chunk: Any) -> StreamChunk:
        """Send a piece of text to the egress."""
        return await self._context.emit_chunk(**{**chunk, "to": ROOKERY})
