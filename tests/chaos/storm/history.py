"""Everything that was ever written to the log, also what has been removed since."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict

from penguiflow.durable.log import Kind, LogError, Stored
from penguiflow_nats.log import JetStreamLog

_PAUSE = 0.5


class History:
    """Reads along. Entries of finished traces stay much longer than it takes to come by."""

    def __init__(self, log: JetStreamLog) -> None:
        self._log = log
        self._upto = 0
        self.traces: defaultdict[str, list[Stored]] = defaultdict(list)

    async def follow(self) -> None:
        """Read on, again and again, until cancelled."""
        while True:
            with contextlib.suppress(LogError):
                await self.read_on()
            await asyncio.sleep(_PAUSE)

    async def read_on(self) -> None:
        """Read what is new.

        Raises:
            LogError: the log does not answer.
        """
        while entries := await self._log.scan(self._upto, 1000):
            for entry in entries:
                self.traces[entry.key.trace].append(entry)
            self._upto = entries[-1].sequence

    def count(self, kind: Kind) -> int:
        """How many entries of a kind were written."""
        return sum(entry.key.kind is kind for entries in self.traces.values() for entry in entries)
