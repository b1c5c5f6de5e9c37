"""What is remembered of redrives, so that none of them runs twice.

A redrive takes dead letters of one trace and submits them again as a new trace. It is written
down before it begins: the unit says which letters it takes and what exactly is submitted. A unit
has a number within its trace, and of one number only one is ever written. So each letter is in at
most one unit, whoever else redrives at the same moment, and a redrive that was cut off is completed
from its unit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from penguiflow.durable.dead_letters import Buried, Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One redrive."""

    trace: str
    """Token of the trace whose letters are taken."""
    number: int
    letters: tuple[str, ...]
    """Ids of the letters."""
    new_trace: str
    """Id of the trace that is submitted."""
    entry: bytes
    """The submission: an envelope whose outputs are the inputs of nodes."""
    by: str = ""
    """Who redrove."""
    at: float = 0.0
    """When the unit was written, by the server's clock."""
    started: int = 0
    """Sequence of the submission that counts; 0 while none does. Nothing that follows from a
    submission is written before this is."""


class RedriveJournal(Protocol):
    """The dead letters of a tenant with what became of them.

    Every method raises `LogError` when it cannot be done.
    """

    def scan(self, selection: Selection) -> AsyncIterator[Buried]:
        """The letters that are meant, the oldest first."""

    async def units(self, flow: str, trace: str) -> list[Unit]:
        """The units of a trace, in the order of their numbers."""

    async def claim(self, flow: str, unit: Unit) -> bool:
        """Write the unit down; False when its number is taken."""

    async def start(self, flow: str, unit: Unit, sequence: int) -> int:
        """Write down which submission counts, once; returns the one that does."""

    async def remove(self, buried: Buried) -> bool:
        """Remove a letter; False when it is not there any more."""


__all__ = ["RedriveJournal", "Unit"]
