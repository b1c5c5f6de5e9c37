"""A real server, and workers in processes of their own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from penguiflow_nats.server import EmbeddedServer

ROOT = Path(__file__).resolve().parents[3]

Process = asyncio.subprocess.Process
StartWorker = Callable[[str, str], Awaitable[Process]]


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as server:
        yield server


@pytest.fixture
async def start(server: EmbeddedServer) -> AsyncIterator[StartWorker]:
    """Starts a worker of some nodes of a flow; it ends with the test."""
    async with AsyncExitStack() as stack:

        async def start(flow: str, nodes: str) -> Process:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.integration.durable.app",
                server.url,
                flow,
                nodes,
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
            )
            stack.push_async_callback(_end, process)
            assert process.stdout is not None
            async with asyncio.timeout(60):
                assert await process.stdout.readline() == b"ready\n"
            return process

        yield start


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
