"""The books of a trace: its state and results, computed from its entries alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from penguiflow.durable import weight
from penguiflow.durable.envelope import DEAD, EGRESS, FAILED, Envelope, decode
from penguiflow.durable.inputs import input_for, returned
from penguiflow.durable.log import Kind, Stored
from penguiflow.durable.wire_errors import WireError


class TraceStatus(StrEnum):
    """How far a trace is. The last three are terminal."""

    UNKNOWN = "unknown"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self in (TraceStatus.COMPLETED, TraceStatus.FAILED, TraceStatus.CANCELLED)


_FAILURES = {Kind.RECORD: (FAILED, DEAD), Kind.OUTPUT: (DEAD,)}


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry and its envelope; None when it could not be read."""

    stored: Stored
    envelope: Envelope | None


@dataclass(slots=True)
class Books:
    """The entries of one trace, by sequence, and what follows from them.

    A trace is complete when the shares that ended sum up to its submissions. An end marker says
    how a trace ended whose entries are gone, in part or all.
    """

    trace: str
    entries: list[Entry] = field(default_factory=list)

    @classmethod
    def of(cls, trace: str, stored: Iterable[Stored]) -> Books:
        """The books from a trace's entries in any order."""
        ordered = sorted(stored, key=lambda entry: entry.sequence)
        return cls(trace, [Entry(entry, _read(entry)) for entry in ordered])

    @property
    def submissions(self) -> int:
        """How many messages were submitted into the trace."""
        # One for later is there twice, as its timer and when it was delivered.
        return len(
            {
                e.stored.key.input
                for e in self.entries
                if e.envelope is not None and e.stored.key.submits
            }
        )

    @property
    def end(self) -> Entry | None:
        """The marker that ended the trace."""
        return next((e for e in self.entries if e.stored.key.kind is Kind.END), None)

    @property
    def cancel_wanted(self) -> bool:
        """Whether somebody wants the trace cancelled."""
        return any(e.stored.key.kind is Kind.CANCEL for e in self.entries)

    @property
    def failures(self) -> list[Entry]:
        """The records of inputs that failed for good, and the ends of outputs that are gone."""
        return [
            e
            for e in self.entries
            if e.envelope is not None and e.envelope.outcome in _FAILURES.get(e.stored.key.kind, ())
        ]

    @property
    def results(self) -> list[Entry]:
        """What reached the egress, in order."""
        return [
            e
            for e in self.entries
            if e.envelope is not None
            and e.stored.key.kind in (Kind.RECORD, Kind.OUTPUT)
            and input_for(e.stored, e.envelope, EGRESS) is not None
        ]

    @property
    def completed_by(self) -> Entry | None:
        """The entry with which the last branch ended; None while something is under way."""
        submissions, shares = self.submissions, "0"
        for entry in self.entries:
            if entry.envelope is None:
                continue
            share = returned(entry.stored, entry.envelope)
            if share is not None and not entry.stored.key.kind.is_marker:
                shares = weight.add((shares, share))
                if submissions and weight.is_whole(shares, submissions):
                    return entry
        return None

    @property
    def status(self) -> TraceStatus:
        """The state of the trace."""
        completed, end = self.completed_by, self.end
        if end is not None:
            outcome = end.envelope.outcome if end.envelope is not None else "cancelled"
            return {"ok": TraceStatus.COMPLETED, "failed": TraceStatus.FAILED}.get(
                outcome, TraceStatus.CANCELLED
            )
        if completed is not None:
            return TraceStatus.FAILED if self.failures else TraceStatus.COMPLETED
        # The marker of a lost branch stays behind when the trace is removed.
        there = any(e.stored.key.kind is not Kind.LOST for e in self.entries)
        return TraceStatus.RUNNING if there else TraceStatus.UNKNOWN


def _read(stored: Stored) -> Envelope | None:
    try:
        return decode(stored.data)
    except WireError:
        return None
