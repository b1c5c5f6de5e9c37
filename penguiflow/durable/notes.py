"""Notes about an input that is delivered again: what a count of deliveries alone cannot tell.

The log counts deliveries. A delivery may end in a failed attempt, in a hand-back by a worker that
drains, or in the death of its worker. The first two leave a note; what left none was a death. So
attempts are counted once, wherever they were made, and a hand-back costs none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from penguiflow.durable.envelope import VERSION, Envelope, encode
from penguiflow.durable.log import AlreadyCommitted, Key, Kind, Log, LogError, Pattern, Stored
from penguiflow.durable.tokens import derive

FAILED_HERE = "f"
"""An attempt failed; the same delivery goes on with the next one."""
FAILED_BACK = "n"
"""An attempt failed, and the delivery was handed to the log for a long back-off."""
HANDED_BACK = "b"
"""The delivery was handed back without an attempt."""
LEFT = "l"
"""All deliveries so far were handed back, because the entry is of a newer version."""
BEGUN = "s"
"""A suspected input begins to run: if nothing follows, its worker died over it."""


@dataclass(frozen=True, slots=True)
class Past:
    """What happened to an input before."""

    attempts: int
    """Attempts that failed, and deliveries that ended in the death of a worker."""
    deaths: int
    """Deliveries that left no trace: their worker died, or lost its connection for long. Once the
    input is suspected, only those in which it had begun to run."""


class Notes:
    """The notes of one flow."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def write(
        self, record: Key, source: Stored, delivery: int, number: int, end: str
    ) -> None:
        """Note how an attempt or a delivery ended. A note that is not taken costs its count only.

        Args:
            record: The key that the input's record will have.
            source: The entry that holds the input.
            delivery: Which delivery it was, from 1.
            number: Tells several notes of one delivery apart.
            end: One of the constants above.
        """
        with contextlib.suppress(LogError), contextlib.suppress(AlreadyCommitted):
            await self._append(record, source, f"{delivery}_{number}{end}")

    async def begin(self, record: Key, source: Stored, delivery: int) -> None:
        """Note that a suspected input begins to run. Without this note it must not.

        Raises:
            InputGone: its trace was cancelled or removed.
            LogError: the log does not take the note.
        """
        with contextlib.suppress(AlreadyCommitted):
            await self._append(record, source, f"{delivery}_0{BEGUN}")

    async def _append(self, record: Key, source: Stored, what: str) -> None:
        token = f"{derive('note', record.input)}_{what}"
        key = Key(Kind.NOTE, record.trace, record.node, token)
        empty = Envelope(
            v=VERSION, tenant=self._log.tenant, flow=self._log.flow, trace="", node=record.node
        )
        await self._log.append(key, encode(empty), after=source.position)

    async def left(self, node: str, source: Stored, delivery: int) -> None:
        """Note that an entry is left to newer workers. A note that is not taken costs its count.

        To be written at deliveries 1, 2, 4, 8 and so on: one holds until the next is due.

        Args:
            node: Token of the node.
            source: The entry, which cannot be read here.
            delivery: Which delivery it is, from 1.
        """
        key = Key(Kind.NOTE, source.key.trace, node, f"{_entry(source)}_{delivery}{LEFT}")
        empty = Envelope(v=VERSION, tenant=self._log.tenant, flow=self._log.flow, trace="")
        with contextlib.suppress(LogError):
            await self._log.append(key, encode(empty), after=source.position)

    async def past(
        self, record: Key, source: Stored, num_delivered: int, *, suspected_after: int
    ) -> Past:
        """What the notes and the count of deliveries say of an input.

        Args:
            record: The key that the input's record will have.
            source: The entry that holds the input.
            num_delivered: How often it was delivered, this time included.
            suspected_after: Deaths from which on a run leaves a note when it begins.

        Raises:
            LogError: the log does not answer.
        """
        pattern = Pattern(kind=Kind.NOTE, trace=record.trace, node=record.node)
        prefixes = (f"{derive('note', record.input)}_", f"{_entry(source)}_")
        found = await self._log.read([pattern])
        notes = [n.key.input for n in found if n.key.input.startswith(prefixes)]
        return _past(notes, num_delivered, suspected_after)


def _entry(source: Stored) -> str:
    return derive("left", source.key.kind.value, source.key.node, source.key.input)


def _past(notes: Iterable[str], num_delivered: int, suspected_after: int) -> Past:
    ends: dict[str, str] = {}
    failed = left = 0
    for note in notes:
        head, _, what = note.rpartition("_")
        if what.endswith(LEFT):
            left = max(left, 2 * int(what[:-1]) - 1)
            continue
        delivery = head.rpartition("_")[2]
        ends[delivery] = ends.get(delivery, "") + what[-1]
        failed += what[-1] in (FAILED_HERE, FAILED_BACK)
    back = {d for d, said in ends.items() if HANDED_BACK in said or FAILED_BACK in said}
    # The delivery in hand has no end yet, but it may have begun.
    begun = {d for d, said in ends.items() if BEGUN in said} - back - {str(num_delivered)}
    silent = max(0, num_delivered - 1 - left - len(back) - len(begun))
    deaths = min(silent, suspected_after) + len(begun)
    return Past(attempts=failed + deaths, deaths=deaths)
