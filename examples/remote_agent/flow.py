"""A flow whose node is an agent in another process: python examples/remote_agent/flow.py

Starts a nats-server and an agent. A local flow calls the agent by a RemoteNode, shows its answer
while it comes, and cancels a second call: the cancel reaches the code that runs in the agent.
"""

import asyncio
import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

if importlib.util.find_spec("penguiflow") is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from penguiflow import Headers, Message, NodePolicy, PenguiFlow, StreamChunk, create
from penguiflow.remote import RemoteNode
from penguiflow_nats.agent import AgentContext, Chunk, Result, Skill, serve
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport

STOP = 10.0
"""Seconds that the agent may take to end."""

# The agent: this file again, in a process of its own.


async def tell(message: Message, ctx: AgentContext) -> AsyncIterator[Chunk | Result]:
    """An async generator streams what it yields."""
    words = f"there was a {message.payload}".split()
    for word in words:
        yield Chunk(word, done=word == words[-1])
        await asyncio.sleep(0.02)
    yield Result({"words": len(words)})


async def ponder(message: Message, ctx: AgentContext) -> None:
    """Takes a minute, if nobody cancels it."""
    try:
        await ctx.emit(f"thinking about the {message.payload}")
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print(f"agent: no more thinking about the {message.payload}", flush=True)
        raise


async def agent(server: str) -> None:
    """Serve until standard input ends: then the parent is done with us, or is no more."""
    skills = [Skill("tell", tell, input=str), Skill("ponder", ponder, input=str)]
    async with serve(server=server, agent="teller", skills=skills, drain=STOP / 2):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def started(server: str) -> AsyncIterator[asyncio.StreamReader]:
    """An agent process that takes calls, and what it prints; ended with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        server,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the parent alone
    )
    assert process.stdin is not None  # noqa: S101 - a pipe, as asked for
    assert process.stdout is not None  # noqa: S101 - as above
    try:
        if not await process.stdout.readline():
            sys.exit("the agent did not start")
        print(f"the agent is process {process.pid}")
        yield process.stdout
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP)
        except TimeoutError:
            process.kill()
            await process.wait()


# The caller.


@asynccontextmanager
async def calling(transport: NatsTransport, skill: str) -> AsyncIterator[PenguiFlow]:
    """A flow of one node, which is the agent. It runs until the block ends."""
    node = RemoteNode(
        transport=transport,
        skill=skill,
        agent_url="nats://teller",
        name=skill,
        streaming=True,
        policy=NodePolicy(validate="none", max_retries=0),
    )
    flow = create(node.to())
    flow.run()
    try:
        yield flow
    finally:
        await flow.stop()


def message(text: str) -> Message:
    return Message(payload=text, headers=Headers(tenant="default"))


async def stream(transport: NatsTransport) -> None:
    print("\nA call, as its answer comes:")
    async with calling(transport, "tell") as flow:
        await flow.emit(message("penguin"))
        while True:
            item = await asyncio.wait_for(flow.fetch(), 30)
            payload = item.payload if isinstance(item, Message) else item
            if not isinstance(payload, StreamChunk):
                break
            print(f"  chunk {payload.seq}: {payload.text}")
        print(f"  result: {payload}")


async def cancel(transport: NatsTransport, agent: asyncio.StreamReader) -> None:
    print("\nA call, cancelled:")
    async with calling(transport, "ponder") as flow:
        asked = message("iceberg")
        await flow.emit(asked)
        item = await asyncio.wait_for(flow.fetch(trace_id=asked.trace_id), 30)
        print(f"  chunk: {item.payload.text}")
        print(f"  cancel: {await flow.cancel(asked.trace_id)}")
        line = await asyncio.wait_for(agent.readline(), 30)
        print(f"  {line.decode().strip()}")


async def main() -> None:
    async with EmbeddedServer() as server:
        print(f"nats-server at {server.url}")
        async with started(server.url) as agent, NatsTransport(server.url) as transport:
            await stream(transport)
            await cancel(transport, agent)
    print("\nEverything that was started is stopped.")


if __name__ == "__main__":
    try:
        asyncio.run(agent(sys.argv[1]) if len(sys.argv) > 1 else main())
    except KeyboardInterrupt:
        print("\nInterrupted. Everything that was started is stopped.")
        sys.exit(130)
