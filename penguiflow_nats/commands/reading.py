"""Reads a whole flow from the server."""

from __future__ import annotations

from collections import defaultdict

from penguiflow.durable.log import Stored
from penguiflow_nats.log import JetStreamLog

_AT_ONCE = 500
"""Entries asked for in one request."""


async def traces_of(log: JetStreamLog) -> dict[str, list[Stored]]:
    """Every trace in the log: its token, and all its entries in order.

    It reads on from sequence to sequence and asks for no key, so a key that the log holds twice,
    which it never should, is found twice. All of it is held in memory.
    """
    found: defaultdict[str, list[Stored]] = defaultdict(list)
    upto = 0
    while entries := await log.scan(upto, _AT_ONCE):
        for entry in entries:
            found[entry.key.trace].append(entry)
        upto = entries[-1].sequence
    return dict(found)


__all__ = ["traces_of"]
