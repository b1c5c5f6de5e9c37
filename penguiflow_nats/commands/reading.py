"""Reads a whole flow from the server, trace by trace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator

from penguiflow.durable.log import Key, Pattern, Stored
from penguiflow_nats.log import JetStreamLog

_AT_ONCE = 512
"""Entries asked for in one request. The server answers at most 1,024."""


async def traces_of(log: JetStreamLog) -> AsyncIterator[tuple[str, list[Stored]]]:
    """The token of every trace in the log, with its entries. A key that the log holds more than
    once, which it never should, is given so often."""
    names = log.names
    info = await log.jetstream.stream_info(names.log_stream, subjects_filter=f"{names.log_root}.>")
    times: defaultdict[str, dict[Key, int]] = defaultdict(dict)
    for subject, count in (info.state.subjects or {}).items():
        key = names.key(subject)
        times[key.trace][key] = count
    for trace, keys in times.items():
        yield trace, await _read(log, keys)


async def _read(log: JetStreamLog, keys: dict[Key, int]) -> list[Stored]:
    found: list[Stored] = []
    wanted = list(keys)
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        patterns = [
            Pattern(key.kind, key.trace, key.node or None, key.input or None) for key in part
        ]
        found += await log.read(patterns)
    return [entry for entry in found for _ in range(keys.get(entry.key, 1))]


__all__ = ["traces_of"]
