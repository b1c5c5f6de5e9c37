"""The processes of the demo: started through the CLI, killed on purpose, stopped at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from census_names import TENANT

HERE = Path(__file__).resolve().parent
WORKER = [
    *("-m", "penguiflow_nats.commands", "worker", f"{HERE / 'flow.py'}:flow"),
    # A short lease, so that the files of a dead worker are soon with another one. Few at once,
    # because more would not make two cores faster.
    *("--tenant", TENANT, "--concurrency", "4", "--lease", "2", "--drain", "8"),
]
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

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str]) -> None:
        self.name = name
        self._arguments = arguments
        self._environment = environment
        self.is_killed = False
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
            env=self._environment,
            # A session of its own keeps Ctrl-C in a terminal from reaching it before us.
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process is not None  # noqa: S101 - it was started
        assert self._process.stderr is not None  # noqa: S101 - it was piped
        async for raw in self._process.stderr:
            line = raw.decode("utf-8", "replace").rstrip()
            if " ready: " in line:
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
        self.is_killed = True
        self._signal(signal.SIGKILL)

    def _signal(self, signum: signal.Signals) -> None:
        if self._process is not None and self.is_running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signum)

    async def stop(self, *, limit: float = STOP_LIMIT) -> None:
        """Ask it to drain and stop; make it, if it does not. Idempotent."""
        if self._process is None:
            return
        if limit > 0:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), limit)
        self.kill()
        await self._process.wait()
        if self._reader is not None:
            await self._reader


class Processes:
    """The agent and the workers; all of them are gone when the block ends."""

    def __init__(self, url: str, *, workers: int) -> None:
        self._environment = {**os.environ, "PENGUIFLOW_NATS_URL": url}
        self._count = workers
        self._agent = Child("agent", [str(HERE / "census_agent.py")], self._environment)
        self.workers: list[Child] = []
        """Every worker that was ever started."""
        self.killed = 0
        """Workers that were killed on purpose."""

    async def __aenter__(self) -> Processes:
        """Start all of them and wait until they are ready."""
        try:
            await self._agent.start()
            for _ in range(self._count):
                await self._start_worker()
            await asyncio.gather(*(child.ready() for child in (self._agent, *self.workers)))
        except BaseException:
            await self.stop(limit=0)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        """Stop what is left; after a failure there is nothing to drain for."""
        await self.stop(limit=STOP_LIMIT if kind is None else 0)

    async def _start_worker(self) -> Child:
        child = Child(f"worker {len(self.workers) + 1}", WORKER, self._environment)
        self.workers.append(child)
        await child.start()
        return child

    @property
    def running(self) -> list[Child]:
        """The workers that are running."""
        return [child for child in self.workers if child.is_running]

    async def replace(self, victim: Child) -> Child:
        """Kill a worker with SIGKILL and start another, without waiting until that one is ready."""
        victim.kill()
        await victim.stop(limit=0)
        self.killed += 1
        return await self._start_worker()

    def check(self) -> None:
        """Raises `ProcessFailed` when one has ended that nobody killed, so that nobody waits."""
        if not self._agent.is_running:
            raise ProcessFailed(self._agent.describe("it ended"))
        if len(self.workers) - len(self.running) > self.killed:
            ended = next(c for c in reversed(self.workers) if not c.is_running and not c.is_killed)
            raise ProcessFailed(ended.describe("it ended"))

    async def stop(self, *, limit: float = STOP_LIMIT) -> None:
        """Stop all, within the limit; with none at once. Idempotent."""
        children = (self._agent, *self.workers)
        await asyncio.gather(*(child.stop(limit=limit) for child in children))
