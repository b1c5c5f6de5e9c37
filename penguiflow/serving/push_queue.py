"""Who has to be told about which task: jobs that outlive their worker, and one holder for each.

A job is held by a lease. Whoever holds it tells one webhook about one task, in order, and renews
the lease; a holder that dies leaves the job to others when its lease is over. A job that failed
too often is buried: it stays, does nothing, and can be redriven.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from penguiflow.clock import SYSTEM_CLOCK


@dataclass(frozen=True, slots=True, kw_only=True)
class PushJob:
    """One webhook of one task. Times are seconds since the epoch."""

    job_id: str
    owner: str
    task_id: str
    config_id: str
    failures: int = 0
    """Deliveries that failed in a row."""
    due: float = 0.0
    """Nobody begins before: the end of a lease, or of a back-off."""
    holder: str = ""
    buried: str = ""
    """Why it is a dead letter; empty when it is none."""
    revision: int = 0
    """Of what is stored; every write is made against it."""


class PushQueue(Protocol):
    """Jobs, stored. Every write is confirmed before it returns."""

    async def start(self) -> None:
        """Be ready."""

    async def stop(self) -> None:
        """End what `start` began."""

    async def put(self, job: PushJob) -> None:
        """Add a job that is due now, or begin it anew if it is there."""

    async def take(self, *, limit: int, lease: float) -> Sequence[PushJob]:
        """Hold up to so many jobs that are due, for `lease` seconds."""

    async def save(self, job: PushJob) -> PushJob | None:
        """Write a job that is held; None when it is held by somebody else now, or gone."""

    async def remove(self, job_id: str, *, revision: int | None = None) -> None:
        """Remove a job, whoever holds it; with a revision only if nobody wrote it since."""

    async def is_held(self, job: PushJob) -> bool:
        """Whether the job is still there and held by this holder."""

    async def dead(self) -> Sequence[PushJob]:
        """The buried jobs."""

    async def redrive(self, job_id: str) -> bool:
        """Make a buried job due again; False when there is none of that id."""


class MemoryPushQueue:
    """Jobs in this process, for development and tests. Several senders may share it.

    Args:
        clock: Seconds since the epoch.
    """

    def __init__(self, *, clock: Callable[[], float] = SYSTEM_CLOCK.now) -> None:
        self._clock = clock
        self._jobs: dict[str, PushJob] = {}
        self._writes = 0

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""

    async def put(self, job: PushJob) -> None:
        """As `PushQueue`."""
        self._write(job)

    async def take(self, *, limit: int, lease: float) -> Sequence[PushJob]:
        """As `PushQueue`."""
        moment = self._clock()
        due = [each for each in self._jobs.values() if not each.buried and each.due <= moment]
        return [
            self._write(replace(each, holder=secrets.token_hex(8), due=moment + lease))
            for each in due[:limit]
        ]

    async def save(self, job: PushJob) -> PushJob | None:
        """As `PushQueue`."""
        found = self._jobs.get(job.job_id)
        if found is None or found.revision != job.revision:
            return None
        return self._write(job)

    async def remove(self, job_id: str, *, revision: int | None = None) -> None:
        """As `PushQueue`."""
        found = self._jobs.get(job_id)
        if found is not None and revision in (None, found.revision):
            del self._jobs[job_id]

    async def is_held(self, job: PushJob) -> bool:
        """As `PushQueue`."""
        found = self._jobs.get(job.job_id)
        return found is not None and found.holder == job.holder and not found.buried

    async def dead(self) -> Sequence[PushJob]:
        """As `PushQueue`."""
        return [each for each in self._jobs.values() if each.buried]

    async def redrive(self, job_id: str) -> bool:
        """As `PushQueue`."""
        found = self._jobs.get(job_id)
        if found is None or not found.buried:
            return False
        self._write(replace(found, buried="", failures=0, due=0.0, holder=""))
        return True

    def _write(self, job: PushJob) -> PushJob:
        self._writes += 1
        self._jobs[job.job_id] = written = replace(job, revision=self._writes)
        return written


__all__ = ["MemoryPushQueue", "PushJob", "PushQueue"]
