"""A stream that outlives its caller: python examples/resume_stream/flow.py

Starts a nats-server, an agent, and a caller in a process of its own. The caller is killed in the
middle of the answer; the task goes on, and this process takes the stream up at the next piece, by
the task's id and the position of the last event that the caller had noted.
"""

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

if importlib.util.find_spec("penguiflow") is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from penguiflow import Headers, Message
from penguiflow.remote import RemoteCallRequest
from penguiflow_nats.agent import AgentContext, Result, serve
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport

PIECES = 40
KILL_AFTER = 10
AGENT = "nats://counter"
STOP = 10.0
"""Seconds that a process may take to end."""

# The agent and the caller: this file again, each in a process of its own.


async def count(message: Message, ctx: AgentContext) -> AsyncIterator[str | Result]:
    for number in range(message.payload):
        yield f"piece {number}"
        await asyncio.sleep(0.02)
    yield Result({"pieces": message.payload, "attempts": ctx.epoch})


async def agent(server: str) -> None:
    """Serve until standard input ends: then the parent is done with us, or is no more."""
    async with serve(count, server, agent="counter", drain=STOP / 2):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def caller(server: str) -> None:
    """Call, and note task, position and text of each event; a real one would keep the first two
    in a database, as a RemoteNode does with its RemoteBinding."""
    ending = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    message = Message(payload=PIECES, headers=Headers(tenant="default"))
    request = RemoteCallRequest(message=message, skill="count", agent_url=AGENT)
    async with NatsTransport(server) as transport:
        async for event in transport.stream(request):
            print(event.task_id, event.position, event.text or "", flush=True)
    await ending


@asynccontextmanager
async def started(role: str, server: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of this file; ended with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        role,
        server,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the parent alone
    )
    assert process.stdin is not None  # noqa: S101 - a pipe, as asked for
    try:
        print(f"the {role} is process {process.pid}")
        yield process
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP)
        except TimeoutError:
            process.kill()
            await process.wait()


async def line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None  # noqa: S101 - a pipe, as asked for
    line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()
    return line or sys.exit("a process ended early")


# This process.


async def heard_until_killed(server: str) -> tuple[str, str, list[str]]:
    """What the caller noted: the task, where it was, and what it had heard."""
    async with started("caller", server) as process:
        task, position, texts = "", "", list[str]()
        while len(texts) < KILL_AFTER:
            task, position, *text = (await line_of(process)).split(" ", 2)
            texts += text  # the first event has none: it only names the task
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    print(f"  the caller heard {texts[0]!r} to {texts[-1]!r} and was killed at {position}")
    return task, position, texts


async def resumed(server: str, task: str, position: str) -> list[str]:
    """The rest of the stream."""
    texts = []
    async with NatsTransport(server) as transport:
        events = transport.resume(agent_url=AGENT, task_id=task, after=position, timeout_s=30)
        async for event in events:
            if event.text:
                texts.append(event.text)
            if event.result is not None:
                print(f"  result: {event.result}")
    print(f"  we heard {texts[0]!r} to {texts[-1]!r}")
    return texts


async def main() -> None:
    async with EmbeddedServer() as server:
        print(f"nats-server at {server.url}")
        async with started("agent", server.url) as process:
            await line_of(process)
            print("\nA caller, killed in the middle:")
            task, position, before = await heard_until_killed(server.url)
            print("\nIts stream, taken up here:")
            after = await resumed(server.url, task, position)
        whole = [f"piece {number}" for number in range(PIECES)]
        print(f"\nTogether all {PIECES} pieces, each once: {before + after == whole}")
    print("Everything that was started is stopped.")


if __name__ == "__main__":
    roles = {"agent": agent, "caller": caller}
    try:
        asyncio.run(roles[sys.argv[1]](sys.argv[2]) if len(sys.argv) > 1 else main())
    except KeyboardInterrupt:
        print("\nInterrupted. Everything that was started is stopped.")
        sys.exit(130)
