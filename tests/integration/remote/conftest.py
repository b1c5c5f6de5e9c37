"""A real server, a transport, and replicas of the test agent in processes of their own."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport

ROOT = Path(__file__).resolve().parents[3]

Process = asyncio.subprocess.Process
StartProcess = Callable[..., Awaitable[Process]]
StartReplica = Callable[[], Awaitable[Process]]


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as server:
        yield server


@pytest.fixture
async def transport(server: EmbeddedServer) -> AsyncIterator[NatsTransport]:
    async with NatsTransport(server.url) as transport:
        yield transport


@pytest.fixture
async def start(server: EmbeddedServer) -> AsyncIterator[StartProcess]:
    """Starts a module of this folder in a process of its own, which ends with the test."""
    async with AsyncExitStack() as stack:

        async def start(module: str, *arguments: str) -> asyncio.subprocess.Process:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                f"tests.integration.remote.{module}",
                server.url,
                *arguments,
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
            )
            stack.push_async_callback(end, process)
            return process

        yield start


@pytest.fixture
def start_replica(start: StartProcess) -> StartReplica:
    """Starts a replica of the agent; it takes calls when this returns."""

    async def start_ready() -> asyncio.subprocess.Process:
        process = await start("agent_app", "1.0")
        await ready(process)
        return process

    return start_ready


async def ready(process: asyncio.subprocess.Process) -> None:
    """Wait until the process says that it works."""
    assert process.stdout is not None
    assert (await process.stdout.readline()).strip() == b"ready"


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.terminate()
    try:
        async with asyncio.timeout(5):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()
