"""Runs `penguiflow` as a user does: as a process of its own, in a folder of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHELL = ("-m", "penguiflow.cli")
"""The shell with the commands of the installed packages."""
COMMANDS = ("-m", "penguiflow_nats.commands")
"""The shell with the commands of penguiflow_nats, installed or not."""

FLOW = '''
import asyncio
import time

from penguiflow import Node, NodePolicy, create

EVERYTHING = NodePolicy(validate="none")


async def double(value, ctx):
    return value * 2


async def rest(value, ctx):
    await asyncio.sleep(value if isinstance(value, float) else 0.0)
    return value


async def compute(value, ctx):
    """Holds a thread, which nobody can cancel."""
    await asyncio.to_thread(time.sleep, value if isinstance(value, float) else 0.0)
    return value


async def greedy(value, ctx):
    return await ctx.fetch()


def node(function):
    return Node(function, name=function.__name__, policy=EVERYTHING)


first, second = node(double), node(rest)
doubling = create(first.to(second), second.to(), name="doubling")
computing = create(node(compute).to(), name="computing")
not_durable = create(node(greedy).to(), name="greedy")
'''


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a user, with this checkout importable and nothing else of ours."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PENGUIFLOW_")}
    return {**kept, "PYTHONPATH": str(ROOT), **(extra or {})}


def run(
    *arguments: str,
    cwd: Path,
    shell: Sequence[str] = COMMANDS,
    env: Mapping[str, str] | None = None,
    timeout: float = 30.0,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, *shell, *arguments],
        cwd=cwd,
        env=environment(env),
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )


class Running:
    """A command that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = asyncio.create_task(self._read())
        self._news = asyncio.Event()

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            self.lines.append(raw.decode().rstrip())
            self._news.set()

    async def line(self, part: str, *, timeout: float = 20.0) -> str:
        """Wait for a line on standard error."""
        async with asyncio.timeout(timeout):
            while True:
                self._news.clear()
                for line in self.lines:
                    if part in line:
                        return line
                if self._reader.done():
                    raise AssertionError(f"ended without {part!r}: {self.lines}")
                news = asyncio.create_task(self._news.wait())
                await asyncio.wait((news, self._reader), return_when=asyncio.FIRST_COMPLETED)
                news.cancel()

    def signal(self, signum: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(signum)

    async def status(self, *, timeout: float = 20.0) -> int:
        """Wait for the end."""
        async with asyncio.timeout(timeout):
            status = await self.process.wait()
        await self._reader
        return status

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        await self._reader


@asynccontextmanager
async def running(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """A command that is killed at the end of the block, if it has not ended by then."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *COMMANDS,
        *arguments,
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    started = Running(process)
    try:
        yield started
    finally:
        await started.end()
