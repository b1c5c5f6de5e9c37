"""The keeper: removes the entries of traces that are over and whose retention is over.

What is held is bounded by the traces under way and those kept for a while, not by history. A late
worker of a removed trace is refused by the log, since its input is gone.

Any worker may do a round; who does is decided by a marker in the log that lives for one round. Two
rounds at once would do no harm: each removes only what the log itself says is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import Protocol

from penguiflow.clock import Clock
from penguiflow.durable.fold import Fold
from penguiflow.durable.log import Log, LogError, Stored
from penguiflow.events import log_event

_ONE_BY_ONE = 10_000
"""Traces removed one by one per round, at most; the rest goes at once, below a sequence."""


class KeepableLog(Log, Protocol):
    """A log that a keeper can tidy."""

    async def scan(self, after: int, limit: int) -> list[Stored]:
        """The next entries of all traces behind a sequence, in order, at most `limit`."""

    async def purge_below(self, sequence: int) -> int:
        """Remove every entry before a sequence but the markers; returns how many."""

    async def claim_round(self, seconds: float) -> bool:
        """Whether this process may do the round that takes `seconds`."""


class Keeper:
    """Does a round now and then, when nobody else does.

    Args:
        log: The log to tidy.
        retention: Seconds for which a trace is kept after its last entry once it is over.
        interval: Seconds between two rounds.
    """

    def __init__(
        self, log: KeepableLog, *, clock: Clock, retention: float = 900.0, interval: float = 30.0
    ) -> None:
        self._log = log
        self._clock = clock
        self._retention = retention
        self._interval = interval
        self._fold = Fold()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; the first round comes after an interval."""
        self._task = asyncio.create_task(self._run(), name="penguiflow:keeper")

    async def stop(self) -> None:
        """End; a round that is under way is broken off. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(self._interval * (0.75 + random.random() / 2))  # noqa: S311
            with contextlib.suppress(LogError):
                if await self._log.claim_round(self._interval):
                    removed = await self.round()
                    if removed:
                        log_event(logging.DEBUG, "traces_removed", {"entries": removed})

    async def round(self) -> int:
        """Read on, remove what is over; returns how many entries were removed.

        Raises:
            LogError: the log does not answer; the next round goes on.
        """
        await self._read_on()
        before = self._log.server_time() - self._retention
        return await self._remove(before)

    async def _read_on(self) -> None:
        while True:
            entries = await self._log.scan(self._fold.upto, 1000)
            for entry in entries:
                self._fold.add(entry)
            if not entries:
                return

    async def _remove(self, before: float) -> int:
        """Remove whole traces only: first those that reach beyond the line, then all below it.

        A trace that is removed in part could not be told from one that is under way.
        """
        line = self._fold.oldest_kept(before)
        over = list(self._fold.over(before))
        last = {trace: standing.last for trace, standing in over}
        below = [trace for trace, standing in over if standing.last < line]
        beyond = [trace for trace, standing in over if standing.last >= line]
        removed = 0
        for trace in beyond[:_ONE_BY_ONE]:
            # Only what was read: a submission that came since is under way.
            removed += await self._log.purge(trace, upto=last[trace])
            self._fold.forget(trace)
        left = [s.first for t, s in over if t in set(beyond[_ONE_BY_ONE:])]
        line = min([line, *left])
        gone = [trace for trace in below if self._fold.ends_below(trace, line)]
        if gone:
            removed += await self._log.purge_below(line)
            for trace in gone:
                self._fold.forget(trace)
        return removed
