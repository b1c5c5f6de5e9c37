"""Serving an agent: `async with serve(handler, server, agent="summary"): ...`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from penguiflow.flow import PenguiFlow
from penguiflow.node import Node
from penguiflow.registry import ModelRegistry
from penguiflow.telemetry.instrument import Instrument
from penguiflow_nats.agent_options import AgentOptions
from penguiflow_nats.agent_replica import Agent
from penguiflow_nats.agent_skills import (
    AgentContext,
    AuthRequired,
    BadHandler,
    Chunk,
    Handler,
    Rejected,
    Result,
    Skill,
    resolve,
)
from penguiflow_nats.call_streams import CallStorage
from penguiflow_nats.imported import refuse_imported
from penguiflow_nats.runtime import Server, connected


@asynccontextmanager
async def serve(
    handler: Handler | PenguiFlow | Node | None = None,
    server: Server = "nats://127.0.0.1:4222",
    *,
    agent: str,
    skills: Sequence[Skill | str] | None = None,
    tenant: str = "default",
    concurrency: int = 16,
    lease: float = 10.0,
    retain: float = 3600.0,
    drain: float = 30.0,
    options: AgentOptions | None = None,
    types: Iterable[type] = (),
    registry: ModelRegistry | None = None,
    storage: CallStorage | None = None,
    telemetry: Instrument | None = None,
) -> AsyncIterator[Agent]:
    """Be a replica of an agent here, until the block ends; then drain.

    Args:
        handler: An async function or async generator of (message, ctx), a node or a flow; the
            handler of every skill that has none of its own.
        server: Where the server is.
        agent: Name of the agent; replicas share it and the work.
        skills: What it can do. Without them, one skill that is called as the handler is.
        tenant: Whose calls to take.
        concurrency: Calls in work at once in this replica.
        lease: Seconds of silence after which another replica takes a call over.
        retain: Seconds for which a task is kept after its end.
        drain: Seconds to finish what is in work at the end.
        options: All options; instead of `concurrency`, `lease` and `retain`.
        types: More types that messages and results may hold.
        registry: The models of nodes that validate, when flows are served.
        storage: How much the streams hold and how safely, if they have to be created.
        telemetry: Observes the calls that are answered here.

    Raises:
        BadHandler: a skill has no handler that can be served.
        ValueError: the agent's name does not fit into a subject.
        NatsError: the server cannot be reached or refuses.
    """
    found = resolve(handler, skills)
    chosen = options or AgentOptions(concurrency=concurrency, lease=lease, retain=retain)
    async with connected(server) as connection:
        refuse_imported(connection, "serving an agent")
        replica = Agent(
            connection,
            tenant=tenant,
            agent=agent,
            skills=found,
            options=chosen,
            types=types,
            registry=registry,
            telemetry=telemetry,
        )
        await replica.start(storage)
        try:
            yield replica
        finally:
            await replica.stop(drain=drain)


__all__ = [
    "Agent",
    "AgentContext",
    "AgentOptions",
    "AuthRequired",
    "BadHandler",
    "CallStorage",
    "Chunk",
    "Rejected",
    "Result",
    "Skill",
    "serve",
]
