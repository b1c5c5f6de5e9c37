"""What is streamed of each trace, kept for a while."""

from __future__ import annotations

from collections import OrderedDict

from penguiflow.memory.topics import Topics

_MAX_TRACES = 1024
"""Traces whose stream is kept; the oldest goes first."""
_MAX_PIECES = 100_000
"""Pieces of one trace that are kept; the oldest goes first, and a reader that needs it is told."""


class Live:
    """The streams of one log."""

    def __init__(self) -> None:
        self.topics: Topics = Topics()
        self._kept: OrderedDict[str, list[bytes]] = OrderedDict()

    def add(self, trace: str, data: bytes) -> None:
        """Keep a piece and tell who listens."""
        pieces = self._kept.setdefault(trace, [])
        pieces.append(data)
        if len(pieces) > _MAX_PIECES:
            del pieces[0]
        if len(self._kept) > _MAX_TRACES:
            self._kept.popitem(last=False)
        self.topics.broadcast(trace, data)

    def read(self, trace: str) -> list[bytes]:
        """The pieces so far."""
        return list(self._kept.get(trace, ()))
