"""A server with a flow on it whose node fails as long as the test wants it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from penguiflow import PenguiFlow
from penguiflow.durable.audit import Report, audit_trace
from penguiflow.durable.client import DurableClient
from penguiflow.durable.codec import TypeMap, ValueCodec
from penguiflow.durable.dead_letters import Buried, DeadLetter, Selection
from penguiflow.durable.redrive import Redrive, Redriver
from penguiflow.durable.redrive_plan import Wish
from penguiflow.durable.tokens import trace_token
from penguiflow.durable.topology import Topology, flow_token
from penguiflow_nats import runtime
from penguiflow_nats.connection import Connection
from penguiflow_nats.dead_letters import NatsDeadLetters
from penguiflow_nats.letter_box import LetterBox
from penguiflow_nats.log import JetStreamLog


class Sickness:
    """What is wrong with a node, and how often it ran and succeeded."""

    def __init__(self) -> None:
        self.is_ill = True
        self.results: list[Any] = []

    async def treat(self, value: Any, ctx: Any) -> Any:
        if self.is_ill:
            raise RuntimeError("ill")
        await asyncio.sleep(0)
        self.results.append(value)
        return value


class Desk:
    """A client of the flow, and its redriver."""

    def __init__(self, flow: PenguiFlow, connection: Connection, client: DurableClient) -> None:
        self.flow = flow
        self.client = client
        self.box = LetterBox(connection)
        token = flow_token(flow.graph, flow.name, flow.version)
        self.log = JetStreamLog(connection, tenant="default", flow=token)
        self.codec = ValueCodec(TypeMap.of_flow(flow.graph, None))
        self.redriver = self.new_redriver()

    def new_redriver(self, log: Any = None, box: Any = None) -> Redriver:
        return Redriver(log or self.log, box or self.box, Topology(self.flow.graph), self.codec)

    async def letters(self) -> list[Buried]:
        return [buried async for buried in self.box.scan(Selection())]

    async def fail(self, value: Any) -> str:
        """Submit; returns the id once its letter is there."""
        trace_id = await self.client.emit(value)
        await self.wait_for_letter(trace_id)
        return trace_id

    async def wait_for_letter(self, trace_id: str) -> None:
        async with asyncio.timeout(30):
            while trace_token(trace_id) not in {
                b.letter.stored.key.trace for b in await self.letters()
            }:
                await asyncio.sleep(0.02)

    async def bury(self, letter: DeadLetter) -> None:
        await (await NatsDeadLetters.open(self.log)).bury(letter)

    async def redrive(self, selection: Selection | None = None, **wish: Any) -> list[Redrive]:
        plans = await self.redriver.plan(
            selection or Selection(), Wish(tenant="default", by="test", **wish)
        )
        return [done async for done in self.redriver.redrive(plans)]

    async def audit(self, trace_id: str) -> Report:
        books = await self.client.books(trace_id)
        joins = [str(n.name) for n in self.flow.graph.nodes if n.join is not None]
        stored = [entry.stored for entry in books.entries]
        return Report([audit_trace(books.trace, stored, now=0.0, joins=joins)])


@asynccontextmanager
async def opened(flow: PenguiFlow, url: str, **options: Any) -> AsyncIterator[Desk]:
    """The flow with a worker of its own."""
    async with (
        runtime.worker(flow, url, **{"retention": None, "drain": 2.0, **options}),
        runtime.client(flow, url) as client,
        runtime.connected(url) as connection,
    ):
        yield Desk(flow, connection, client)
