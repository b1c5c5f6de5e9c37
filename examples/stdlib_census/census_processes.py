"""The processes of the demo: started through the CLI, killed on purpose, stopped at the end."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from census_child import STOP_LIMIT, Child, ProcessFailed
from census_names import TENANT

HERE = Path(__file__).resolve().parent
WORKER = [
    *("-m", "penguiflow_nats.commands", "worker", f"{HERE / 'flow.py'}:flow"),
    # A short lease, so that the files of a dead worker are soon with another one. Few at once,
    # because more would not make two cores faster.
    *("--tenant", TENANT, "--concurrency", "4", "--lease", "2", "--drain", "8"),
    *("--wait", "30"),
]


class Processes:
    """The agent and the workers; all of them are gone when the block ends."""

    def __init__(self, url: str, *, workers: int, agent: bool = True) -> None:
        self._environment = {**os.environ, "PENGUIFLOW_NATS_URL": url}
        self._count = workers
        self._agents = (
            [Child("agent", [str(HERE / "census_agent.py")], self._environment)] if agent else []
        )
        self.workers: list[Child] = []
        """Every worker that was ever started."""
        self.killed = 0
        """Workers that were killed on purpose."""

    async def __aenter__(self) -> Processes:
        """Start all of them and wait until they are ready."""
        try:
            for each in self._agents:
                each.start()
            for _ in range(self._count):
                self._start_worker()
            await asyncio.gather(*(child.ready() for child in (*self._agents, *self.workers)))
        except BaseException:
            await self.stop(limit=0)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        """Stop what is left; after a failure there is nothing to drain for."""
        await self.stop(limit=STOP_LIMIT if kind is None else 0)

    def _start_worker(self) -> Child:
        child = Child(f"worker {len(self.workers) + 1}", WORKER, self._environment)
        self.workers.append(child)
        child.start()
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
        return self._start_worker()

    def check(self) -> None:
        """Raises `ProcessFailed` when one has ended that nobody killed, so that nobody waits."""
        for agent in self._agents:
            if not agent.is_running:
                raise ProcessFailed(agent.describe("it ended"))
        if len(self.workers) - len(self.running) > self.killed:
            ended = next(c for c in reversed(self.workers) if not c.is_running and not c.is_killed)
            raise ProcessFailed(ended.describe("it ended"))

    async def stop(self, *, limit: float = STOP_LIMIT) -> None:
        """Stop all, within the limit; with none at once. Idempotent."""
        children = (*self._agents, *self.workers)
        await asyncio.gather(*(child.stop(limit=limit) for child in children))
