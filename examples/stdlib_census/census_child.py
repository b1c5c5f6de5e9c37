"""One process of the demo: started, heard, killed, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys

READY_LIMIT = 60.0
"""Seconds in which a process has to become ready; a machine under load needs some."""
STOP_LIMIT = 10.0
"""Seconds between asking a process to stop and making it stop."""
POLL = 0.01

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
        self._process: subprocess.Popen[bytes] | None = None
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
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        command = [sys.executable, *self._arguments]
        if sys.platform == "linux":
            launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
            command = launcher + command
        # Waited for by asking, below: asyncio's own watcher and a signal to a process that has just
        # ended would get into each other's way.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self._environment,
            # A session of its own keeps Ctrl-C in a terminal from reaching it before us.
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read(self._process))

    async def _read(self, process: subprocess.Popen[bytes]) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), process.stderr
        )
        try:
            async for raw in reader:
                line = raw.decode("utf-8", "replace").rstrip()
                if " ready: " in line:
                    self._ready.set()
                self._said = [*self._said[-19:], line]
        finally:
            transport.close()

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
            why = "it ended" if self._reader.done() else f"not ready after {READY_LIMIT:.0f} s"
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
        if limit > 0:
            self._signal(signal.SIGTERM)
            await self._ended(limit)
        self.kill()
        await self._ended(STOP_LIMIT)
        if self._reader is not None:
            await self._reader

    async def _ended(self, limit: float) -> None:
        """Wait for its end, for so many seconds at most."""
        end = asyncio.get_running_loop().time() + limit
        while self.is_running and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110
            await asyncio.sleep(POLL)
