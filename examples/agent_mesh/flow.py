"""Agents that call agents: python examples/agent_mesh/flow.py

Starts a nats-server and three agents, each in a process of its own. The editor finds a writer and
a critic by what they can do, hands on the writer's text while it comes, and asks again until the
critic is content. All calls belong to one trace. A cancel of the editor ends the others' work, too.
"""

import asyncio
import importlib.util
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

if importlib.util.find_spec("penguiflow") is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from penguiflow import Headers, Message
from penguiflow.remote import RemoteCallRequest, RemoteTaskFailed
from penguiflow_nats.agent import AgentContext, Result, serve
from penguiflow_nats.connection import Connection
from penguiflow_nats.discovering import DiscoveringTransport
from penguiflow_nats.discovery import SkillAddress, find_agents
from penguiflow_nats.runtime import connected
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport

STOP = 10.0
"""Seconds that an agent may take to end."""
GOOD = 3

# The agents: this file again, each in a process of its own.


async def write(message: Message, ctx: AgentContext) -> AsyncIterator[str | Result]:
    """Streams a draft; a slow one when it is asked for an epic."""
    try:
        report("writer", ctx)
        for word in f"draft {message.payload['draft']} about {message.payload['topic']}".split():
            yield f"{word} "
            await asyncio.sleep(60 if message.payload["topic"] == "an epic" else 0.01)
        yield Result(f"draft {message.payload['draft']}")
    except asyncio.CancelledError:
        print("writer: cancelled", flush=True)
        raise


async def judge(message: Message, ctx: AgentContext) -> bool:
    report("critic", ctx)
    return bool(message.payload == f"draft {GOOD}")


def editor_of(transport: DiscoveringTransport) -> Any:
    """The editor's handler, which calls others by this transport."""

    async def ask(ctx: AgentContext, skill: str, payload: Any, key: str) -> Any:
        """Call another agent for this one's caller: in its trace, within its time, and, when this
        call is cancelled, no longer."""
        request = RemoteCallRequest(
            message=Message(payload=payload, headers=Headers(tenant=ctx.tenant)),
            skill=skill,
            agent_url=str(SkillAddress(skill, version="1")),
            timeout_s=ctx.remaining(),
            traceparent=ctx.traceparent,
            # A replica that takes over for a dead one asks for the same, and so gets the same task.
            idempotency_key=f"{ctx.task_id}/{key}",
        )
        request.task_id = await transport.mint_task_id(request, attempt=ctx.epoch - 1)
        result = None
        try:
            async for event in transport.stream(request):
                if event.text:
                    await ctx.emit(event.text)
                result = event.result if event.result is not None else result
        except asyncio.CancelledError:
            await transport.cancel(agent_url=request.agent_url, task_id=request.task_id)
            raise
        return result

    async def edit(message: Message, ctx: AgentContext) -> dict[str, Any]:
        report("editor", ctx)
        for draft in range(1, GOOD + 1):
            wanted = {"topic": message.payload, "draft": draft}
            text = await ask(ctx, "write", wanted, f"write-{draft}")
            if await ask(ctx, "judge", text, f"judge-{draft}"):
                break
        return {"text": text, "drafts": draft}

    return edit


def report(who: str, ctx: AgentContext) -> None:
    trace = (ctx.traceparent or "-none-").split("-")[1]
    print(f"{who}: works on {ctx.skill} in trace {trace}", flush=True)


async def agent(name: str, server: str) -> None:
    """Serve until standard input ends: then the parent is done with us, or is no more."""
    async with DiscoveringTransport(server) as transport:
        handlers = {"writer": write, "critic": judge, "editor": editor_of(transport)}
        async with serve(handlers[name], server, agent=name, drain=STOP / 2):
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.read)


class AgentProcess:
    """An agent in a process of its own, and what it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.lines: list[str] = []
        self._process = process
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - a pipe, as asked for
        async for line in self._process.stdout:
            self.lines.append(line.decode().strip())

    async def said(self, text: str) -> None:
        """Wait until it printed a line with this text."""
        async with asyncio.timeout(30):
            while not any(text in line for line in self.lines):
                if self._reader.done():
                    sys.exit(f"an agent ended without {text!r}")
                await asyncio.sleep(0.01)

    async def ended(self) -> None:
        assert self._process.stdin is not None  # noqa: S101 - a pipe, as asked for
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP)
        except TimeoutError:
            self._process.kill()
        await self._process.wait()
        await self._reader


@asynccontextmanager
async def started(name: str, server: str) -> AsyncIterator[AgentProcess]:
    """An agent that takes calls; ended with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        name,
        server,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the parent alone
    )
    agent = AgentProcess(process)
    try:
        await agent.said("ready")
        yield agent
    finally:
        await agent.ended()


# The caller.


def call(topic: str, trace: str) -> RemoteCallRequest:
    return RemoteCallRequest(
        message=Message(payload=topic, headers=Headers(tenant="default")),
        skill="edit",
        agent_url="nats://editor",
        timeout_s=30,
        task_id=secrets.token_hex(16),
        traceparent=f"00-{trace}-{secrets.token_hex(8)}-01",
    )


async def show_agents(connection: Connection) -> None:
    for found in await find_agents(connection):
        skills = ", ".join(skill.name for skill in found.skills)
        print(f"  {found.name} {found.versions[0]}: {skills}")


async def edit(transport: NatsTransport, agents: list[AgentProcess]) -> None:
    print("\nOne call, through three agents:")
    trace = secrets.token_hex(16)
    text = ""
    async for event in transport.stream(call("penguins", trace)):
        text += event.text or ""
        if event.result is not None:
            print(f"  heard: {text.strip()}")
            print(f"  result: {event.result}")
    lines = [line for agent in agents for line in agent.lines if "works on" in line]
    in_trace = [line for line in lines if line.endswith(trace)]
    print(f"  {len(in_trace)} of {len(lines)} pieces of work are in one trace")


async def cancel(transport: NatsTransport, writer: AgentProcess) -> None:
    print("\nOne call, cancelled at its root:")
    request = call("an epic", secrets.token_hex(16))
    try:
        async for event in transport.stream(request):
            if event.text:
                print(f"  heard: {event.text.strip()}")
                await transport.cancel(agent_url=request.agent_url, task_id=str(request.task_id))
    except RemoteTaskFailed as failed:
        print(f"  the call is {failed.snapshot.status.state}")
    await writer.said("cancelled")
    print("  the writer, two calls away, has stopped")


async def main() -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(EmbeddedServer())
        print(f"nats-server at {server.url}")
        agents = [
            await stack.enter_async_context(started(name, server.url))
            for name in ("writer", "critic", "editor")
        ]
        connection = await stack.enter_async_context(connected(server.url))
        await show_agents(connection)
        async with NatsTransport(connection) as transport:
            await edit(transport, agents)
            await cancel(transport, agents[0])
    print("\nEverything that was started is stopped.")


if __name__ == "__main__":
    try:
        asyncio.run(agent(*sys.argv[1:]) if len(sys.argv) > 1 else main())
    except KeyboardInterrupt:
        print("\nInterrupted. Everything that was started is stopped.")
        sys.exit(130)
