"""All traces of a log at a glance: folded from its entries in order. Pure.

The keeper that removes finished traces and the audit read a log once, from where they stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from penguiflow.durable import weight
from penguiflow.durable.envelope import Envelope, EnvelopeTooNew, decode
from penguiflow.durable.inputs import returned
from penguiflow.durable.log import Kind, Stored
from penguiflow.durable.wire_errors import WireError


@dataclass(slots=True)
class Standing:
    """What is known of one trace."""

    first: int
    """Sequence of its first entry."""
    last: int
    """Sequence of its last entry."""
    changed: float
    """When its last entry was written, by the log's clock."""
    submissions: int = 0
    shares: str = "0"
    unreadable: bool = False
    """Some entry of it cannot be read."""
    newer: bool = False
    """Some entry of it was written by a later version: what it says is not known here."""
    ended: bool = False
    """An end marker was written: nothing of it goes on."""
    trace_id: str | None = None
    """The id as its user knows it, once an entry named it."""
    told: bool = False
    """Whether somebody was told that it is over."""

    @property
    def is_over(self) -> bool:
        """Whether nothing of the trace is under way."""
        if self.ended:
            return True
        if self.newer:
            return False
        if not self.submissions:
            # Nothing of it can run: what cannot be read is buried.
            return self.unreadable
        return weight.is_whole(self.shares, self.submissions)


class Fold:
    """The standing of every trace that has entries in the log."""

    def __init__(self) -> None:
        self.upto: int = 0
        """Every entry up to this sequence is folded in."""
        self._traces: dict[str, Standing] = {}

    def __len__(self) -> int:
        return len(self._traces)

    def __contains__(self, trace: str) -> bool:
        """Whether the log holds entries of the trace, as far as it was folded in."""
        return trace in self._traces

    def add(self, stored: Stored) -> None:
        """Fold in the next entry; one that was folded in before changes nothing."""
        if stored.sequence <= self.upto:
            return
        self.upto = stored.sequence
        trace = stored.key.trace
        if stored.key.kind.is_marker:
            standing = self._traces.get(trace)
            if standing is not None and stored.key.kind is Kind.END:
                standing.ended = True
            return
        standing = self._traces.get(trace)
        if standing is None:
            standing = self._traces[trace] = Standing(stored.sequence, 0, 0.0)
        standing.last, standing.changed = stored.sequence, stored.timestamp
        try:
            envelope = decode(stored.data)
        except EnvelopeTooNew:
            standing.newer = True
            return
        except WireError:
            standing.unreadable = True
            return
        standing.trace_id = standing.trace_id or envelope.trace or None
        if stored.key.submits:
            if not _rang(stored, envelope):
                standing.submissions += 1
                standing.told = False
            return
        share = returned(stored, envelope)
        if share is not None:
            standing.shares = weight.add((standing.shares, share))

    def forget(self, trace: str) -> None:
        """The trace's entries were removed."""
        self._traces.pop(trace, None)

    def over(self, before: float) -> Iterator[tuple[str, Standing]]:
        """The traces that are over and did not change since `before`."""
        for trace, standing in self._traces.items():
            if standing.is_over and standing.changed < before:
                yield trace, standing

    def untold(self) -> Iterator[tuple[str, Standing]]:
        """The traces that are over, have a name, and of whose end nobody was told."""
        for standing in self._traces.values():
            if standing.trace_id is not None and not standing.told and standing.is_over:
                yield standing.trace_id, standing

    def oldest_kept(self, before: float) -> int:
        """Sequence of the first entry of any trace that is not over, or changed since."""
        kept = (s.first for s in self._traces.values() if not s.is_over or s.changed >= before)
        return min(kept, default=self.upto + 1)

    def ends_below(self, trace: str, line: int) -> bool:
        """Whether every entry of the trace lies before the line."""
        standing = self._traces.get(trace)
        return standing is not None and standing.last < line

    def live(self) -> int:
        """How many traces are under way."""
        return sum(not standing.is_over for standing in self._traces.values())


def _rang(stored: Stored, envelope: Envelope) -> bool:
    """Whether it was submitted for later and has rung: then its timer was counted already."""
    outputs = envelope.outputs
    return stored.key.kind is Kind.INGRESS and bool(outputs) and outputs[0].due is not None
