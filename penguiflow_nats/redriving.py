"""Redriving the dead letters of a flow on NATS, embedded in any asyncio program."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from penguiflow.durable.codec import TypeMap, ValueCodec
from penguiflow.durable.redrive import Redriver
from penguiflow.durable.topology import Topology, flow_token
from penguiflow.flow import PenguiFlow
from penguiflow.registry import ModelRegistry
from penguiflow.telemetry.instrument import Instrument
from penguiflow_nats.letter_box import LetterBox
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.runtime import Server, connected


@asynccontextmanager
async def redriver(
    flow: PenguiFlow,
    server: Server = "nats://127.0.0.1:4222",
    *,
    tenant: str = "default",
    registry: ModelRegistry | None = None,
    by: str = "redrive",
    telemetry: Instrument | None = None,
) -> AsyncIterator[Redriver]:
    """Plans and makes redrives of the flow's dead letters; `letters` of it lists and removes them.

    Args:
        flow: The flow as it is now.
        server: Where the server is.
        tenant: Whose dead letters.
        registry: The models of nodes that validate.
        by: Who redrives; written down with each redrive.
        telemetry: Observes what is submitted; by default what the flow was given.

    Raises:
        FlowNotDurable: the flow cannot be spread over workers.
        NatsError: the server cannot be reached.
    """
    async with connected(server) as connection:
        name = flow_token(flow.graph, flow.name, flow.version)
        log = JetStreamLog(connection, tenant=tenant, flow=name)
        codec = ValueCodec(TypeMap.of_flow(flow.graph, registry))
        box = LetterBox(connection, tenant=tenant)
        told = telemetry or flow.telemetry
        yield Redriver(log, box, Topology(flow.graph), codec, by=by, telemetry=told)


__all__ = ["redriver"]
