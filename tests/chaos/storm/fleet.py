"""Worker processes of the storm: forked from one that has everything imported, ended by signals."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import random
import signal
import sys
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from penguiflow.durable.log import LogError
from penguiflow_nats import runtime
from penguiflow_nats.errors import NatsError
from penguiflow_nats.streams import Storage
from tests.chaos.storm.flow import storm_flow

RETENTION = 40.0
"""Longer than a client that missed a hint waits for its next look."""


@dataclass(frozen=True)
class Job:
    """What a worker process is told."""

    servers: tuple[str, ...]
    lease: float
    replicas: int
    folder: Path


class Fleet:
    """So many workers awake at any time; those that are paused come on top."""

    def __init__(self, job: Job, *, size: int, chooser: random.Random) -> None:
        self._job = job
        self._size = size
        self._chooser = chooser
        # Forked, not started: a fresh interpreter costs more than all the work of a short life.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        self._awake: list[BaseProcess] = []
        self._asleep: set[BaseProcess] = set()
        self.started = 0
        self.died: list[int] = []
        """Exit codes of workers that nobody ended."""

    def fill(self) -> None:
        """Start workers until there are enough; whoever ended unasked is noted."""
        for process in [each for each in self._awake if each.exitcode is not None]:
            self._awake.remove(process)
            self.died.append(process.exitcode or 0)
        while len(self._awake) < self._size:
            process = self._context.Process(target=work, args=(self._job,), daemon=True)
            process.start()
            self._awake.append(process)
            self.started += 1

    def kill(self) -> None:
        """End one with SIGKILL and start another one."""
        self.fill()
        victim = self._chooser.choice(self._awake)
        self._awake.remove(victim)
        victim.kill()
        victim.join()
        self.fill()

    async def pause(self, seconds: float) -> None:
        """Stop one for a while; another one takes its place, and it goes on as one too many."""
        self.fill()
        victim = self._chooser.choice(self._awake)
        self._awake.remove(victim)
        self._asleep.add(victim)
        _signal(victim, signal.SIGSTOP)
        self.fill()
        await asyncio.sleep(seconds)
        self._asleep.discard(victim)
        _signal(victim, signal.SIGCONT)
        self._awake.append(victim)  # from now on it can be killed like any other

    async def stop(self) -> list[int]:
        """Drain all of them; returns their exit codes."""
        self.fill()
        for process in self._asleep:
            _signal(process, signal.SIGCONT)
        everybody = [*self._awake, *self._asleep]
        for process in everybody:
            process.terminate()
        for process in everybody:
            await asyncio.to_thread(process.join, 60)
        return [-1 if each.exitcode is None else each.exitcode for each in everybody]

    def close(self) -> None:
        """End what is still there."""
        for process in [*self._awake, *self._asleep]:
            if process.exitcode is None:
                process.kill()
                process.join()


def _signal(process: BaseProcess, number: int) -> None:
    assert process.pid is not None
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)


def work(job: Job) -> None:
    """The life of a worker process."""
    if sys.platform == "linux":  # end with the process that everybody here was forked from
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    errors = os.open(job.folder / "errors.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(errors, 2)
    asyncio.run(_serve(job))


async def _serve(job: Job) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    runs = os.open(job.folder / "runs.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    flow = storm_flow(runs)
    while not stopping.is_set():
        try:
            async with runtime.worker(
                flow,
                job.servers,
                lease=job.lease,
                retention=RETENTION,
                storage=Storage(replicas=job.replicas),
                drain=20.0,
            ):
                await stopping.wait()
        except (NatsError, LogError) as error:  # the server is away: it comes back
            sys.stderr.write(f"{os.getpid()} could not start or stop: {error!r}\n")
            await asyncio.sleep(0.2)
