"""What is killed on the way, and when: decided beforehand by a seed, and bound to progress.

A kill counts only while there is work that it can harm. So the submission keeps pace with the
kills: before each of them only so much is submitted that something is under way when it comes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from census_processes import Processes
from census_progress import Progress

from penguiflow_nats.server import EmbeddedServer

DOWN = (0.1, 1.5)
"""Shortest and longest time in seconds for which a killed server is away."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One thing that goes wrong."""

    at: float
    """The part of the files that is done when it does."""
    worker: bool
    server: bool


def plan_of(*, workers: int, servers: int, seed: int) -> list[Kill]:
    """So many kills of workers and of the server, some of both at once, in the order of time."""
    count = max(workers, servers)
    chooser = random.Random(seed)  # noqa: S311 - it shall be the same for the same seed
    with_worker = set(chooser.sample(range(count), workers))
    with_server = set(chooser.sample(range(count), servers))
    # One kill alone comes in the middle.
    share = [(number + 0.5) / (count + 1) if count > 1 else 0.5 for number in range(count)]
    return [Kill(share[n], n in with_worker, n in with_server) for n in range(count)]


class Chaos:
    """Carries a plan out."""

    def __init__(
        self,
        plan: list[Kill],
        processes: Processes,
        server: EmbeddedServer | None,
        *,
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._left = list(plan)
        self._processes = processes
        self._server = server
        self._say = say
        self._chooser = random.Random(seed)  # noqa: S311 - as above
        self._moved = asyncio.Event()

    @property
    def released(self) -> float:
        """The part of the files that may be submitted so far; all if only one kill is planned."""
        if len(self._plan) < 2 or not self._left:
            return 1.0
        done = len(self._plan) - len(self._left)
        return (done + 1) / (len(self._plan) + 1)

    async def until_released(self, share: float) -> None:
        """Wait until this part of the files may be submitted."""
        while share > self.released:
            self._moved.clear()
            await self._moved.wait()

    async def strike(self, progress: Progress) -> None:
        """Do what is due at this point."""
        while self._left and progress.share >= self._left[0].at:
            kill = self._left[0]
            await self._carry_out(kill)
            self._left.pop(0)
            self._moved.set()

    async def _carry_out(self, kill: Kill) -> None:
        if kill.server and self._server is not None:
            await self._server.kill()
            self._say("killed the server")
        if kill.worker and self._processes.running:
            victim = self._chooser.choice(self._processes.running)
            pid = victim.pid
            new = await self._processes.replace(victim)
            self._say(f"killed {victim.name} (pid {pid}) with SIGKILL, started {new.name}")
        if kill.server and self._server is not None:
            await asyncio.sleep(self._chooser.uniform(*DOWN))
            await self._server.start()
            self._say("started the server again, on its old port and store")
