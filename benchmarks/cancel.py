"""How fast a cancel is: from the call until the last node, on the last worker, has been cancelled.

`python -m benchmarks cancel` measures, on healthy connections and an idle server:

    nodes       a trace with nine running nodes, spread over three workers with a connection each
    remote      a trace with a node that waits for a remote agent: until the agent's handler ends
    returned    the same calls, until `cancel` has returned: nothing of the trace can be committed
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from penguiflow import Context, Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.durable.client import DurableClient
from penguiflow.remote import RemoteNode
from penguiflow_nats import runtime
from penguiflow_nats.agent_options import AgentOptions
from penguiflow_nats.agent_skills import AgentContext, Skill
from penguiflow_nats.commands.agent import AgentSpec
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport

WORKERS, WIDTH = 3, 9
PLAIN = NodePolicy(validate="none")


class Held:
    """Nodes that run until they are cancelled, and when that was."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.reset()

    def reset(self) -> None:
        """Forget the last round."""
        self.running = asyncio.Event()
        self.ended = asyncio.Event()
        self.last = 0.0
        self._begun = self._over = 0

    async def hold(self) -> None:
        """Wait for the cancel."""
        self._begun += 1
        if self._begun == self._count:
            self.running.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.last = time.perf_counter()
            self._over += 1
            if self._over == self._count:
                self.ended.set()


def fan_out(held: Held) -> PenguiFlow:
    """One node that deals, one that holds each of the parts."""

    async def deal(msg: Message, ctx: Context) -> None:
        for number in range(WIDTH):
            await ctx.emit(msg.model_copy(update={"payload": number}))

    async def hold(msg: Message, ctx: Context) -> None:
        await held.hold()

    first, second = Node(deal, policy=PLAIN), Node(hold, policy=PLAIN)
    return create(first.to(second), name="cancel-nodes")


@asynccontextmanager
async def nodes(server: str, held: Held) -> AsyncIterator[DurableClient]:
    """Workers that hold at most a third of the parts each, so that each of them has some."""
    flow = fan_out(held)
    async with AsyncExitStack() as stack:
        for _ in range(WORKERS):
            hosted = runtime.worker(flow, server, concurrency=WIDTH // WORKERS, drain=0.1)
            await stack.enter_async_context(hosted)
        yield await stack.enter_async_context(runtime.client(flow, server))


@asynccontextmanager
async def remote(server: str, held: Held) -> AsyncIterator[DurableClient]:
    """A worker whose node waits for an agent."""

    async def wait(message: Message, ctx: AgentContext) -> str:
        await held.hold()
        return "never"

    agent = AgentSpec("held", skills=[Skill("wait", wait)], options=AgentOptions())
    async with NatsTransport(server) as transport:
        node = RemoteNode(
            transport=transport,
            skill="wait",
            agent_url="nats://held",
            name="remote",
            policy=PLAIN,
        )
        flow = create(node.to(), name="cancel-remote")
        async with (
            agent.serve(server),
            runtime.worker(flow, server, drain=0.1),
            runtime.client(flow, server) as client,
        ):
            yield client


async def measure(
    client: DurableClient, held: Held, rounds: int
) -> tuple[list[float], list[float]]:
    """Milliseconds until the last node was cancelled, and until the call returned."""
    ended, returned = [], []
    for _ in range(rounds):
        held.reset()
        trace = await client.emit(Message(payload=0, headers=Headers(tenant="default")))
        await asyncio.wait_for(held.running.wait(), 30)
        began = time.perf_counter()
        if not await client.cancel(trace):
            msg = "the trace was not cancelled"
            raise RuntimeError(msg)
        returned.append((time.perf_counter() - began) * 1000)
        await asyncio.wait_for(held.ended.wait(), 30)
        ended.append((held.last - began) * 1000)
    return ended, returned


def row(name: str, samples: list[float]) -> str:
    """A line of the table."""
    cuts = statistics.quantiles(samples, n=100, method="inclusive")
    return f"| {name} | {cuts[49]:.1f} | {cuts[98]:.1f} | {max(samples):.1f} |"


async def run(rounds: int = 300) -> None:
    """Measure and print a table."""
    print(f"{rounds} cancels each; milliseconds\n")
    print("| cancelled | p50 | p99 | max |")
    print("|---|---|---|---|")
    async with EmbeddedServer() as server:
        for name, opened, count in (("nodes", nodes, WIDTH), ("remote", remote, 1)):
            held = Held(count)
            async with opened(server.url, held) as client:
                await measure(client, held, 20)
                ended, returned = await measure(client, held, rounds)
            print(row(name, ended))
            print(row(f"{name}, returned", returned), flush=True)


if __name__ == "__main__":
    asyncio.run(run())
