"""The entries of one log: what is written, on which conditions, what a purge takes (pure)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

from penguiflow.durable.log import (
    AlreadyCommitted,
    EntryTooLarge,
    InputGone,
    Key,
    LogFull,
    Pattern,
    Position,
    Stored,
    TraceEnded,
)
from penguiflow.memory.matching import matches_any

_FRAME = 4
"""Bytes that a header costs beside its name and value (`: ` and a line end)."""


def carried_size(data: bytes, headers: Mapping[str, str]) -> int:
    """Bytes of one message: the payload and its headers, which share the limit."""
    return len(data) + sum(
        len(name.encode()) + len(value.encode()) + _FRAME for name, value in headers.items()
    )


class Entries:
    """The entries by key, by sequence and by trace.

    A sequence is given once; a key that was purged and is written again gets a new one.
    """

    __slots__ = (
        "_by_key",
        "_by_sequence",
        "_by_trace",
        "_bytes",
        "_end_ttl",
        "_ends",
        "_last",
        "_max_bytes",
        "_max_entries",
        "max_entry_bytes",
    )

    def __init__(
        self,
        *,
        max_entries: int | None,
        max_bytes: int | None,
        max_entry_bytes: int,
        end_ttl: float | None,
    ) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self.max_entry_bytes: int = max_entry_bytes
        self._end_ttl = end_ttl
        self._by_key: dict[Key, Stored] = {}
        self._by_sequence: dict[int, Stored] = {}
        self._by_trace: dict[str, dict[Key, Stored]] = {}
        # End markers, oldest first: the only entries that leave by age.
        self._ends: OrderedDict[Key, float] = OrderedDict()
        self._bytes = 0
        self._last = 0

    def __len__(self) -> int:
        return len(self._by_key)

    @property
    def last(self) -> int:
        """The last sequence that was given."""
        return self._last

    @property
    def num_bytes(self) -> int:
        """Bytes of all payloads, headers and keys."""
        return self._bytes

    def append(
        self,
        key: Key,
        data: bytes,
        headers: Mapping[str, str],
        *,
        after: Position | None,
        absent: Key | None,
        now: float,
    ) -> Stored:
        """Write one entry, or raise; the conditions are checked in the server's order."""
        if after is not None and absent is not None:
            msg = "an append takes `after` or `absent`, not both"
            raise ValueError(msg)
        size = carried_size(data, headers)
        if size > self.max_entry_bytes:
            raise EntryTooLarge(size, self.max_entry_bytes)
        # First the expectations (on the input, on the marker), then the fence on the own key, then
        # the room: a zombie of a purged trace hears InputGone even where the log is full.
        if after is not None and not self._is_at(after):
            raise InputGone(str(after))
        if absent is not None and absent in self._by_key:
            raise TraceEnded(str(absent))
        if key in self._by_key:
            raise AlreadyCommitted(str(key))
        self._check_room(_size(key, size))
        self._last += 1
        stored = Stored(key, self._last, now, bytes(data), dict(headers))
        self._insert(stored)
        return stored

    def get(self, key: Key) -> Stored | None:
        return self._by_key.get(key)

    def at(self, sequence: int) -> Stored | None:
        """The entry of this sequence, or None when it is gone."""
        return self._by_sequence.get(sequence)

    def read(self, patterns: Sequence[Pattern]) -> list[Stored]:
        """Every entry that one of the patterns covers, by sequence."""
        found = {
            entry.sequence: entry
            for entry in self._candidates(patterns)
            if matches_any(patterns, entry.key)
        }
        return [found[sequence] for sequence in sorted(found)]

    def purge(self, trace: str, *, upto: int | None = None) -> list[Stored]:
        """Remove the entries of the trace but its markers; returns what was removed."""
        removed = [
            entry
            for entry in self._by_trace.get(trace, {}).values()
            if not entry.key.kind.is_marker and (upto is None or entry.sequence <= upto)
        ]
        for entry in removed:
            self._remove(entry)
        return removed

    def expire(self, now: float) -> list[Stored]:
        """Remove the end markers whose time is over; returns what was removed."""
        removed: list[Stored] = []
        while self._end_ttl is not None and self._ends:
            key, written = next(iter(self._ends.items()))
            if now - written < self._end_ttl:
                break
            removed.append(self._by_key[key])
            self._remove(removed[-1])
        return removed

    def _is_at(self, position: Position) -> bool:
        entry = self._by_key.get(position.key)
        return entry is not None and entry.sequence == position.sequence

    def _check_room(self, size: int) -> None:
        if self._max_entries is not None and len(self._by_key) >= self._max_entries:
            msg = f"{self._max_entries} entries"
            raise LogFull(msg)
        if self._max_bytes is not None and self._bytes + size > self._max_bytes:
            msg = f"{self._max_bytes} bytes"
            raise LogFull(msg)

    def _candidates(self, patterns: Sequence[Pattern]) -> Iterator[Stored]:
        traces = {pattern.trace for pattern in patterns}
        for trace in traces:
            if trace is None:
                yield from self._by_key.values()
                return
        for trace in traces:
            yield from self._by_trace.get(trace or "", {}).values()

    def _insert(self, entry: Stored) -> None:
        self._by_key[entry.key] = entry
        self._by_sequence[entry.sequence] = entry
        self._by_trace.setdefault(entry.key.trace, {})[entry.key] = entry
        self._bytes += _size(entry.key, carried_size(entry.data, entry.headers))
        if entry.key.kind.is_marker:
            self._ends[entry.key] = entry.timestamp

    def _remove(self, entry: Stored) -> None:
        del self._by_key[entry.key]
        del self._by_sequence[entry.sequence]
        siblings = self._by_trace[entry.key.trace]
        del siblings[entry.key]
        if not siblings:
            del self._by_trace[entry.key.trace]
        self._bytes -= _size(entry.key, carried_size(entry.data, entry.headers))
        self._ends.pop(entry.key, None)


def _size(key: Key, carried: int) -> int:
    return carried + len(key.trace) + len(key.node) + len(key.input)
