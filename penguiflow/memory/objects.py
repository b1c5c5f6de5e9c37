"""The objects of a log in memory."""

from __future__ import annotations

from collections.abc import Callable

from penguiflow.clock import Clock
from penguiflow.durable.log import LogFull, Objects
from penguiflow.memory.consumption import Line
from penguiflow.memory.loop import turn


class ObjectShelf:
    """The server's side: what all connections share.

    Args:
        clock: Dates the objects.
        max_bytes: Bytes that it takes until it is full; no limit when None.
    """

    def __init__(self, clock: Clock, *, max_bytes: int | None = None) -> None:
        self.clock = clock
        self.max_bytes = max_bytes
        self.kept: dict[str, tuple[bytes, float]] = {}

    def put(self, name: str, data: bytes) -> None:
        """Keep an object, or date it anew. Raises `LogFull`."""
        used = sum(len(kept) for kept, _ in self.kept.values())
        limit = self.max_bytes
        if limit is not None and name not in self.kept and used + len(data) > limit:
            msg = f"{limit} bytes of objects"
            raise LogFull(msg)
        self.kept[name] = (data, self.clock.now())


class MemoryObjects(Objects):
    """One connection to the objects. The promises are those of `penguiflow.durable.log.Objects`."""

    def __init__(self, shelf: ObjectShelf, line: Line) -> None:
        self._shelf = shelf
        self._line = line

    async def put(self, name: str, data: bytes) -> None:
        self._line.check()
        self._shelf.put(name, bytes(data))
        await turn()

    async def get(self, name: str) -> bytes | None:
        await turn()
        self._line.check()
        found = self._shelf.kept.get(name)
        return None if found is None else found[0]

    async def remove_strays(self, is_wanted: Callable[[str], bool], *, before: float) -> int:
        self._line.check()
        strays = [
            name
            for name, (_, dated) in self._shelf.kept.items()
            if dated < before and not is_wanted(name)
        ]
        for name in strays:
            del self._shelf.kept[name]
        await turn()
        return len(strays)
