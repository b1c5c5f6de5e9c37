"""A real server, a transport, and replicas of the test agent in processes of their own."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport

ROOT = Path(__file__).resolve().parents[3]

StartReplica = Callable[[], Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as server:
        yield server


@pytest.fixture
async def transport(server: EmbeddedServer) -> AsyncIterator[NatsTransport]:
    async with NatsTransport(server.url) as transport:
        yield transport


@pytest.fixture
async def start_replica(server: EmbeddedServer) -> AsyncIterator[StartReplica]:
    """Starts a replica in a process of its own; it is ready when this returns."""
    async with AsyncExitStack() as stack:

        async def start() -> asyncio.subprocess.Process:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.integration.remote.agent_app",
                server.url,
                "1.0",
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
            )
            stack.push_async_callback(end, process)
            assert process.stdout is not None
            assert (await process.stdout.readline()).strip() == b"ready"
            return process

        yield start


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(5):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()
