"""Keys that are written once and belong together, read in the order in which they were stored.

    <prefix>.<a>.<b>.<c>.<identity>      a, b, c: one hex digit each, from a hash of the identity

The server answers for at most 1,024 keys at a time. The three digits are where a longer series is
cut: into 16 parts, or 256, or 4,096, as many as it takes. Parts are merged by revision, a few
entries of each at a time, so that a page of a long series costs about a page.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
from collections import deque

from penguiflow_nats.errors import TooManyResults
from penguiflow_nats.kv import KeyValue
from penguiflow_nats.kv_bucket import Entry
from penguiflow_nats.multi_get import MOST, multi_last

_DIGITS = "0123456789abcdef"
_DEPTH = 3
_AT_ONCE = 4
"""Requests for parts on their way at once; each may bring up to 4 MiB."""
_LAG_TRIES, _LAG_PAUSE = 200, 0.01


def series_key(prefix: str, identity: str) -> str:
    """The key of an entry. Equal identities have equal keys: that makes a write idempotent."""
    digits = hashlib.blake2b(identity.encode(), digest_size=2).hexdigest()
    return f"{prefix}.{digits[0]}.{digits[1]}.{digits[2]}.{identity}"


class _Part:
    """One part of a series while it is read."""

    __slots__ = ("ahead", "depth", "ended", "position", "prefix")

    def __init__(self, prefix: str, depth: int, position: int) -> None:
        self.prefix = prefix
        self.depth = depth
        self.position = position
        """Everything up to this revision was read."""
        self.ahead: deque[Entry] = deque()
        self.ended = False

    def cut(self) -> list[_Part]:
        """The parts that take its place."""
        return [_Part(f"{self.prefix}.{digit}", self.depth + 1, self.position) for digit in _DIGITS]


class SeriesReader:
    """One pass over a series, from a revision on; `take` as often as wanted.

    Guarantees: entries come by revision, none is left out that was confirmed before the first
    `take`, also while others write. Keys that were removed are not given.
    """

    def __init__(self, kv: KeyValue, prefix: str, *, after: int = 0) -> None:
        """Prepare.

        Args:
            kv: The bucket.
            prefix: First tokens of the keys, possibly with wildcards.
            after: Only entries with a greater revision.
        """
        self._kv = kv
        self._prefix = prefix
        self._up_to = 0
        self._dry = [_Part(prefix, 0, after)]
        self._heads: list[tuple[int, str, _Part]] = []

    @property
    def ended(self) -> bool:
        """Whether everything was taken."""
        return not self._dry and not self._heads

    async def take(self, limit: int) -> list[Entry]:
        """The next entries, at most `limit`; fewer only at the end.

        Raises:
            TooManyResults: The series has more entries than can be told apart, some millions.
            NatsError: The server does not answer.
        """
        taken: list[Entry] = []
        while len(taken) < limit:
            while self._dry:
                await self._refill(limit - len(taken))
            if not self._heads:
                break
            part = heapq.heappop(self._heads)[2]
            taken.append(part.ahead.popleft())
            self._place(part)
        return taken

    async def all(self) -> list[Entry]:
        """Everything that is left."""
        entries: list[Entry] = []
        while not self.ended:
            entries += await self.take(MOST)
        return entries

    def _place(self, part: _Part) -> None:
        if part.ahead:
            heapq.heappush(self._heads, (part.ahead[0].revision, part.prefix, part))
        elif not part.ended:
            self._dry.append(part)

    async def _refill(self, wanted: int) -> None:
        parts, self._dry = self._dry, []
        share = wanted if len(parts) == 1 else 2 * wanted // len(parts) + 8
        batch = min(share, MOST)
        for start in range(0, len(parts), _AT_ONCE):
            some = parts[start : start + _AT_ONCE]
            fetched = await asyncio.gather(*(self._fetch(part, batch) for part in some))
            for part, whole in zip(some, fetched, strict=True):
                if whole:
                    self._place(part)
                else:
                    self._dry += part.cut()
        if not self._up_to and any(part.depth for part in self._dry):
            # Parts are asked one after the other. Without a common end, an entry could be missed
            # in a part read early while a later one is given from a part read late.
            last = await self._kv.entry(f"{self._prefix}.>")
            self._up_to = 0 if last is None else last.revision

    async def _fetch(self, part: _Part, batch: int) -> bool:
        """Read ahead; False if the part has to be cut."""
        try:
            await self._ask(part, batch)
            if part.ended and self._kv.replicated:
                await self._await_replica(part)
        except TooManyResults:
            if part.depth == _DEPTH:
                raise
            return False
        return True

    async def _ask(self, part: _Part, batch: int) -> None:
        kv = self._kv
        answer = await kv.persist(
            lambda: multi_last(
                kv.connection,
                kv.stream,
                [kv.subject(f"{part.prefix}.>")],
                start=part.position + 1,
                up_to=self._up_to,
                batch=batch,
            )
        )
        entries = [kv.of_found(each) for each in answer.found]
        part.ahead.extend(entry for entry in entries if not entry.removed)
        part.position = entries[-1].revision if entries else part.position
        part.ended = not answer.pending

    async def _await_replica(self, part: _Part) -> None:
        """Go on until what the leader knows was read: a replica may lag behind it."""
        for _ in range(_LAG_TRIES):
            last = await self._kv.entry(f"{part.prefix}.>")
            if last is None or last.revision <= part.position or 0 < self._up_to < last.revision:
                return
            await asyncio.sleep(_LAG_PAUSE)
            await self._ask(part, MOST)


async def read_series(kv: KeyValue, prefix: str, *, after: int = 0) -> list[Entry]:
    """All entries of a series after a revision."""
    return await SeriesReader(kv, prefix, after=after).all()


__all__ = ["SeriesReader", "read_series", "series_key"]
