"""Dead letters kept in this process."""

from __future__ import annotations

from penguiflow.durable.dead_letters import DeadLetter
from penguiflow.durable.log import Key


class MemoryDeadLetters:
    """The dead letters of one flow, shared by the workers of this process."""

    def __init__(self) -> None:
        self._letters: dict[tuple[Key, str], DeadLetter] = {}

    async def bury(self, letter: DeadLetter) -> None:
        self._letters.setdefault((letter.stored.key, letter.node), letter)

    async def letters(self, *, limit: int = 1000) -> list[DeadLetter]:
        return list(self._letters.values())[:limit]

    async def traces(self) -> frozenset[str]:
        return frozenset(key.trace for key, _ in self._letters)
