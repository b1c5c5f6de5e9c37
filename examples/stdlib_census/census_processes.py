"""The processes of the demo: started through the CLI, killed on purpose, stopped at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

READY_LIMIT = 60.0
"""Seconds in which a process has to become ready; a machine under load needs some."""
STOP_LIMIT = 10.0
"""Seconds between asking a process to stop and making it stop."""

# Linux ends a process with the one that started it, if asked to: nothing stays behind even when
# the demo itself is killed. What is asked for here is still in force after the exec.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class ProcessFailed(RuntimeError):
    """A process of the demo ended by itself, or did not become ready."""


class Child:
    """One process that says on standard error when it is ready."""

    def __init__(self, name: str, arguments: list[str], *, ready: str) -> None:
        self.name = name
        self._arguments = arguments
        self._ready_word = ready
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._said: list[str] = []

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None  # noqa: S101 - asked for after the start
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it, without waiting until it is ready."""
        command = [sys.executable, *self._arguments]
        if sys.platform == "linux":
            launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
            command = launcher + command
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # A session of its own keeps Ctrl-C in a terminal from reaching it before us.
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process is not None  # noqa: S101 - it was started
        assert self._process.stderr is not None  # noqa: S101 - it was piped
        async for raw in self._process.stderr:
            line = raw.decode("utf-8", "replace").rstrip()
            if self._ready_word in line:
                self._ready.set()
            self._said = [*self._said[-19:], line]

    async def ready(self) -> None:
        """Wait until it says that it is ready.

        Raises:
            ProcessFailed: it ended, or took too long.
        """
        assert self._reader is not None  # noqa: S101 - it was started
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait(
            (ready, self._reader), timeout=READY_LIMIT, return_when=asyncio.FIRST_COMPLETED
        )
        ready.cancel()
        if not self._ready.is_set():
            why = f"not ready after {READY_LIMIT:.0f} s" if self.is_running else "it ended"
            raise ProcessFailed(self.describe(why))

    def describe(self, what: str) -> str:
        """What happened to it, and the last lines that it wrote."""
        return "\n  ".join((f"{self.name}: {what}", *self._said))

    def kill(self) -> None:
        """End it with SIGKILL, as a crash or an out-of-memory killer would."""
        self._signal(signal.SIGKILL)

    def _signal(self, signum: signal.Signals) -> None:
        if self._process is not None and self.is_running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signum)

    async def stop(self) -> None:
        """Ask it to drain and stop; make it, if it does not. Idempotent."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), STOP_LIMIT)
        except TimeoutError:
            self.kill()
            await self._process.wait()
        if self._reader is not None:
            await self._reader


class Workers:
    """The worker processes of one flow."""

    def __init__(
        self, flow: Path, url: str, tenant: str, *, count: int, concurrency: int, lease: float
    ) -> None:
        self._arguments = [
            *("-m", "penguiflow_nats.commands", "worker", f"{flow}:flow"),
            *("--nats", url, "--tenant", tenant, "--lease", str(lease)),
            *("--concurrency", str(concurrency), "--drain", "5"),
        ]
        self._count = count
        self._children: list[Child] = []
        self.killed = 0

    async def __aenter__(self) -> Workers:
        """Start all of them and wait until they are ready."""
        try:
            for _ in range(self._count):
                await self._start()
            await asyncio.gather(*(child.ready() for child in self._children))
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop those that are left."""
        await self.stop()

    async def _start(self) -> Child:
        child = Child(f"worker {len(self._children) + 1}", self._arguments, ready=" ready: ")
        self._children.append(child)
        await child.start()
        return child

    @property
    def running(self) -> list[Child]:
        """Those that are running."""
        return [child for child in self._children if child.is_running]

    async def replace(self, child: Child) -> Child:
        """Kill one with SIGKILL and start another, without waiting until that one is ready."""
        child.kill()
        self.killed += 1
        return await self._start()

    def check(self) -> None:
        """Raises `ProcessFailed` when all have ended by themselves."""
        if not self.running:
            raise ProcessFailed(self._children[-1].describe("no worker is left"))

    async def stop(self) -> None:
        """Drain and stop all, also when the caller is being cancelled."""
        stopping = asyncio.gather(*(child.stop() for child in self._children))
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            for child in self._children:
                child.kill()
            await stopping
            raise
