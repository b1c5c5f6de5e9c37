"""An entry of the log as a delivery for one node."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from penguiflow.durable.envelope import Envelope
from penguiflow.durable.log import Key, LogDelivery, Stored
from penguiflow.durable.notes import FAILED_BACK, FAILED_HERE, HANDED_BACK, Notes
from penguiflow.telemetry.instrument import NodeInstrument, Settle

_SPREAD = 0.1
"""Share by which a long back-off may be shorter, so that what failed together does not come back
together."""
_NOTE_LIMIT = 2.0
"""Seconds for a note; a worker that drains does not wait longer for a log that is away."""


class DurableDelivery:
    """One input of one node: decoded, with the identity its record will have."""

    __slots__ = (
        "_again",
        "_hold_limit",
        "_notes",
        "_probe",
        "_written",
        "attempt",
        "envelope",
        "input_id",
        "joined",
        "log_delivery",
        "record_key",
        "share",
        "span",
        "suspected",
        "trace_id",
        "turn",
        "value",
    )

    def __init__(
        self,
        log_delivery: LogDelivery,
        envelope: Envelope,
        *,
        value: Any,
        input_id: str,
        share: str,
        record_key: Key,
        again: Callable[[DurableDelivery, float], None],
        hold_limit: float,
        notes: Notes,
        probe: NodeInstrument | None = None,
    ) -> None:
        self.log_delivery: LogDelivery = log_delivery
        self.envelope: Envelope = envelope
        self.value: Any = value
        self.trace_id: str | None = envelope.trace
        self.input_id: str = input_id
        self.share: str = share
        """What part of its submission this input carries."""
        self.record_key: Key = record_key
        self.attempt: int = 0
        self.suspected: int = 0
        """The deaths over this input when there were so many that it has to run alone, else 0."""
        self.turn: int = 0
        """How often it was given back before in this process: tells runs of one delivery apart."""
        self.span: Any = None
        self.joined: Sequence[tuple[Stored, Envelope]] = ()
        """The entries of a joined message, this one included."""
        self._again = again
        self._hold_limit = hold_limit
        self._notes = notes
        self._probe = probe
        self._written = 0

    async def ack(self) -> None:
        await self.log_delivery.ack()

    async def nak(self, delay: float = 0.0, *, attempted: bool = True) -> None:
        """A short back-off is waited for here, with the lease renewed; a long one in the log."""
        self.turn += 1
        if attempted:
            self.attempt += 1
        held = 0 < delay <= self._hold_limit if not attempted else delay <= self._hold_limit
        if held:
            if attempted:
                await self._note(FAILED_HERE)
            self._again(self, delay)
            return
        await self._note(FAILED_BACK if attempted else HANDED_BACK)
        settle: Settle = partial(self.log_delivery.nak, _spread(delay))
        if self._probe is not None:
            settle = self._probe.settling(self.span, "nak", settle)
        await settle()

    async def _note(self, end: str) -> None:
        """Note how this attempt ended, briefly: a note that is not taken costs its count only."""
        self._written += 1
        entry = self.log_delivery
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_NOTE_LIMIT):
                await self._notes.write(
                    self.record_key, entry.stored, entry.num_delivered, self._written, end
                )

    async def term(self, reason: str) -> None:
        settle: Settle = partial(self.log_delivery.term, reason)
        if self._probe is not None:
            settle = self._probe.settling(self.span, "term", settle)
        await settle()


def _spread(delay: float) -> float:
    return delay * (1.0 - _SPREAD * random.random())  # noqa: S311 - spreads load
