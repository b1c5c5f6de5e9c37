"""The keeper: removes the entries of traces that are over and whose retention is over.

What is held is bounded by the traces under way and those kept for a while, not by history. A late
worker of a removed trace is refused by the log, since its input is gone.

Objects of large values go after that, once their trace has left the log and they are old enough
that nobody can be about to name them.

Any worker may do a round; who does is decided by a marker in the log that lives for one round. Two
rounds at once would do no harm: each removes only what the log itself says is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import Protocol

from penguiflow.async_tasks import end_tasks
from penguiflow.clock import Clock
from penguiflow.durable.claims import trace_of_object
from penguiflow.durable.dead_letters import DeadLetters
from penguiflow.durable.fold import Fold
from penguiflow.durable.log import Log, LogError
from penguiflow.events import log_event
from penguiflow.state.protocols import SupportsTraceEnds

_TOLD_AT_ONCE = 64
_ONE_BY_ONE = 10_000
"""Traces removed one by one per round, at most; the rest goes at once, below a sequence."""


OBJECT_GRACE = 7200.0
"""Seconds for which an object stays whose trace is not in the log: its entry may be on its way."""
_SWEEP = 600.0
"""Seconds between two looks at the objects."""


class KeepableLog(Log, Protocol):
    """A log that a keeper can tidy."""

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
        ends: Is told of each trace that is over, once at least; its failure is logged, and it is
            told again in the next round.
        object_grace: Seconds for which an object stays at least.
        letters: Dead letters of the flow; what they refer to stays as long as they do.
    """

    def __init__(
        self,
        log: KeepableLog,
        *,
        clock: Clock,
        retention: float = 900.0,
        interval: float = 30.0,
        ends: SupportsTraceEnds | None = None,
        object_grace: float = OBJECT_GRACE,
        letters: DeadLetters | None = None,
    ) -> None:
        self._ends = ends
        self._log = log
        self._clock = clock
        self._retention = retention
        self._interval = interval
        self._object_grace = object_grace
        self._letters = letters
        self._swept = float("-inf")
        self._fold = Fold()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; the first round comes after an interval."""
        self._task = asyncio.create_task(self._run(), name="penguiflow:keeper")

    async def stop(self) -> None:
        """End; a round that is under way is broken off. Idempotent."""
        await end_tasks(self._task)

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
        if self._ends is not None:
            await self._tell(self._ends)
        before = self._log.server_time() - self._retention
        removed = await self._remove(before)
        now = self._clock.monotonic()
        if now - self._swept >= _SWEEP:
            await self.sweep()
            self._swept = now
        return removed

    async def sweep(self) -> int:
        """Remove the objects of traces that are not in the log and have no dead letter.

        Returns:
            How many.

        Raises:
            LogError: the log does not answer; the next look goes on.
        """
        before = self._log.server_time() - self._object_grace
        held = frozenset() if self._letters is None else await self._letters.traces()
        await self._read_on()

        def is_wanted(name: str) -> bool:
            flow, trace = trace_of_object(name)
            return flow != self._log.flow or trace in self._fold or trace in held

        return await self._log.objects.remove_strays(is_wanted, before=before)

    async def _read_on(self) -> None:
        while True:
            entries = await self._log.scan(self._fold.upto, 1000)
            for entry in entries:
                self._fold.add(entry)
            if not entries:
                return

    async def _tell(self, ends: SupportsTraceEnds) -> None:
        """Say which traces are over, some at once."""
        over = list(self._fold.untold())
        for start in range(0, len(over), _TOLD_AT_ONCE):
            some = over[start : start + _TOLD_AT_ONCE]
            told = await asyncio.gather(*(self._told(ends, trace) for trace, _ in some))
            for (_, standing), done in zip(some, told, strict=True):
                standing.told = done
            if not all(told):
                return  # the next round goes on

    async def _told(self, ends: SupportsTraceEnds, trace_id: str) -> bool:
        try:
            await ends.mark_trace_ended(trace_id, tenant=self._log.tenant)
        except Exception as error:  # noqa: BLE001 - any store's: told, and repeated
            failure = {"trace_id": trace_id, "kind": "trace_ended", "exception": repr(error)}
            log_event(logging.ERROR, "state_store_save_failed", failure, error)
            return False
        return True

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
