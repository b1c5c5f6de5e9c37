"""The audit: from what the log holds alone, whether anything was lost or done twice. Pure.

What a client submitted and what a record gave out are inputs of the nodes they are addressed to.
An input is

* settled, when exactly one record of that node answers it (for a join: the record of its group);
* lost, when none does and none will: its trace has ended, or nothing has happened for long;
* done twice, when two records or two contents exist where one belongs, when an output differs from
  what its record says, or when a record or an output follows from nothing in the log;
* open, while its trace is under way; cancelled, when its trace was.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from penguiflow.durable import weight
from penguiflow.durable.arrivals import Arrival, Groups, arrivals_of, groups_of
from penguiflow.durable.claims import claim_of
from penguiflow.durable.envelope import DEAD, EGRESS, Envelope, Output
from penguiflow.durable.ledger import Books, Entry, TraceStatus
from penguiflow.durable.log import Key, Kind, Stored
from penguiflow.durable.tokens import token
from penguiflow.durable.topology import EGRESS_TOKEN, output_id

IDLE = 60.0
"""Seconds without a new entry after which a trace that has not ended is taken for stuck."""


class Fault(StrEnum):
    """What is wrong with an input."""

    LOST = "lost"
    TWICE = "twice"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that should not be."""

    fault: Fault
    trace: str
    """The trace id, as its user knows it."""
    node: str
    input: str
    detail: str


@dataclass(slots=True)
class TraceAudit:
    """The audit of one trace."""

    trace: str
    status: TraceStatus
    sent: int = 0
    settled: int = 0
    open: int = 0
    cancelled: int = 0
    findings: list[Finding] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """The audit of several traces."""

    traces: list[TraceAudit] = field(default_factory=list)

    @property
    def sent(self) -> int:
        """Inputs of nodes."""
        return sum(trace.sent for trace in self.traces)

    @property
    def settled(self) -> int:
        """Inputs with exactly one answer."""
        return sum(trace.settled for trace in self.traces)

    @property
    def open(self) -> int:
        """Inputs that are waited for."""
        return sum(trace.open for trace in self.traces)

    @property
    def cancelled(self) -> int:
        """Inputs without an answer whose trace was cancelled."""
        return sum(trace.cancelled for trace in self.traces)

    @property
    def findings(self) -> list[Finding]:
        """All that should not be."""
        return [finding for trace in self.traces for finding in trace.findings]

    @property
    def unfinished(self) -> list[TraceAudit]:
        """The traces that were accepted and have not come to an end."""
        return [trace for trace in self.traces if trace.status is TraceStatus.RUNNING]

    @property
    def lost(self) -> int:
        """Inputs without an answer that will get none."""
        return sum(finding.fault is Fault.LOST for finding in self.findings)

    @property
    def twice(self) -> int:
        """Contradictions."""
        return sum(finding.fault is Fault.TWICE for finding in self.findings)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost and nothing done twice."""
        return not self.findings

    def line(self) -> str:
        """The figures in one line, the zero ones that are no promise left out."""
        text = f"sent={self.sent} settled={self.settled} lost={self.lost} twice={self.twice}"
        more = {"open": self.open, "cancelled": self.cancelled}
        return " ".join((text, *(f"{name}={value}" for name, value in more.items() if value)))


def audit_trace(
    trace: str,
    stored: Iterable[Stored],
    *,
    now: float,
    idle: float = IDLE,
    joins: Collection[str] = (),
    parts: Mapping[str, Sequence[Output]] | None = None,
) -> TraceAudit:
    """The audit of one trace.

    Args:
        trace: Its token, the one in the keys.
        stored: All its entries, in any order; several of one key too, if the log holds such.
        now: The time by the log's clock, for what is idle.
        idle: Seconds without a new entry after which what is missing will not come.
        joins: Names of nodes that join; one whose group has a record is known by that record.
        parts: The outputs that lie in objects, by object (`read_parts`); those of an object that
            is not given are counted, but not compared.
    """
    return _Auditor(trace, list(stored), now - idle, joins, parts or {}).result()


class _Auditor:
    def __init__(
        self,
        trace: str,
        stored: list[Stored],
        stale: float,
        joins: Collection[str],
        parts: Mapping[str, Sequence[Output]],
    ) -> None:
        first: dict[Key, Stored] = {}
        for entry in sorted(stored, key=lambda entry: entry.sequence):
            first.setdefault(entry.key, entry)
        self._books = Books.of(trace, first.values())
        status = self._books.status
        self._joins = joins
        self._parts = parts
        self._cancelled = status is TraceStatus.CANCELLED
        newest = max((_expected(entry) for entry in self._books.entries), default=0.0)
        self._over = status.is_terminal or newest < stale
        self._audit = TraceAudit(_user_id(self._books), status)
        self._repeated = [entry for entry in stored if first[entry.key] is not entry]

    def result(self) -> TraceAudit:
        for entry in self._repeated:
            self._find(Fault.TWICE, entry.key.node, entry.key.input, "its key is in the log again")
        for unreadable in (e for e in self._books.entries if e.envelope is None):
            key = unreadable.stored.key
            self._find(Fault.LOST, key.node, key.input, f"the {key.kind} entry is unreadable")
        arrivals = list(arrivals_of(self._books.entries))
        records = self._records()
        groups = {
            node: groups_of(node, there, [r for r in records.values() if r.node == node])
            for node, there in _by_node(arrivals).items()
        }
        self._answers(arrivals, records, groups)
        self._strays(arrivals, records, groups)
        self._outputs()
        self._submissions()
        return self._audit

    def _records(self) -> dict[tuple[str, str], Envelope]:
        found = {}
        for entry in self._books.entries:
            key, envelope = entry.stored.key, entry.envelope
            if key.kind is not Kind.RECORD or envelope is None:
                continue
            if (key.node, key.input) == (token(envelope.node), envelope.input):
                found[envelope.node, envelope.input] = envelope
            else:
                self._find(Fault.TWICE, key.node, key.input, "the record says that it is another's")
        return found

    def _answers(
        self,
        arrivals: list[Arrival],
        records: dict[tuple[str, str], Envelope],
        groups: dict[str, Groups],
    ) -> None:
        for arrival in arrivals:
            joined = groups[arrival.node]
            if joined.is_join or arrival.node in self._joins:
                self._input(arrival.node, arrival.input, answered=arrival.input in joined.covered)
            else:
                answered = (arrival.node, arrival.input) in records
                self._input(arrival.node, arrival.input, answered=answered)

    def _input(self, node: str, identity: str, *, answered: bool, missing: str = "record") -> None:
        audit = self._audit
        audit.sent += 1
        if answered:
            audit.settled += 1
        elif self._cancelled:
            audit.cancelled += 1
        elif self._over:
            self._find(Fault.LOST, node, identity, f"no {missing}; the trace is {audit.status}")
        else:
            audit.open += 1

    def _strays(
        self,
        arrivals: list[Arrival],
        records: dict[tuple[str, str], Envelope],
        groups: dict[str, Groups],
    ) -> None:
        asked = {(arrival.node, arrival.input) for arrival in arrivals}
        for node, joined in groups.items():
            asked.update((node, identity) for identity in joined.records)
            for identity in joined.unclear:
                self._find(Fault.TWICE, node, identity, "its inputs do not add up to its share")
        for node, identity in records.keys() - asked:
            self._find(Fault.TWICE, node, identity, "the record answers nothing in the log")

    def _outputs(self) -> None:
        """Compare every output entry with the one that its record, or its redrive, leads to."""
        there = {e.stored.key: e for e in self._books.entries if e.stored.key.kind is Kind.OUTPUT}
        self._parted(there)
        for entry in self._books.entries:
            kind = entry.stored.key.kind
            if kind not in (Kind.RECORD, Kind.INGRESS) or entry.envelope is None:
                continue
            for expected in outputs_of(entry.stored.key, entry.envelope):
                self._output(there, *expected)
        for key in there:
            self._find(Fault.TWICE, key.node, key.input, "the output follows from no record")

    def _output(self, there: dict[Key, Entry], key: Key, target: str, expected: Envelope) -> None:
        found = there.pop(key, None)
        if found is None:
            self._input(target, key.input, answered=False, missing="entry of the output")
        elif found.envelope is not None and not _same(found.envelope, expected):
            detail = "the output differs from what its record says"
            self._find(Fault.TWICE, target, key.input, detail)

    def _submissions(self) -> None:
        """What was submitted for later and has not been delivered."""
        keys = [e.stored.key for e in self._books.entries if e.stored.key.submits]
        delivered = {key.input for key in keys if key.kind is Kind.INGRESS}
        for key in keys:
            if key.input not in delivered:
                self._input("", key.input, answered=False, missing="delivery of the submission")

    def _parted(self, there: dict[Key, Entry]) -> None:
        """Take out the outputs that lie in parts. Of one that was not read it is known how many
        there must be, not which."""
        parted = [
            (entry.stored.key, entry.envelope, part)
            for entry in self._books.entries
            if entry.envelope is not None and entry.stored.key.kind is Kind.RECORD
            for part in entry.envelope.parts
        ]
        if not parted:
            return
        by_input: defaultdict[str, list[Key]] = defaultdict(list)
        for key in there:
            by_input[key.input].append(key)
        for record, envelope, part in parted:
            ids = [
                output_id(record.trace, envelope.node, record.input, part.first + index)
                for index in range(part.count)
            ]
            keys = [key for identity in ids for key in by_input[identity]]
            written = [there[key].envelope for key in keys]
            lost = any(e is not None and e.outcome == DEAD for e in written)
            outputs = None if lost else self._parts.get(part.name)
            if outputs is not None:
                share = weight.split(envelope.weight, _targets(envelope))
                for identity, output in zip(ids, outputs, strict=True):
                    for one in _entries_of(record.trace, envelope, identity, output, share):
                        self._output(there, *one)
                continue
            found = [there.pop(key) for key in keys]
            if lost:
                continue  # the object was lost, and the branches that are missing were ended
            for _ in range(part.targets - len(found)):
                self._input("", record.input, answered=False, missing="entry of an output")

    def _find(self, fault: Fault, node: str, identity: str, detail: str) -> None:
        self._audit.findings.append(Finding(fault, self._audit.trace, node, identity, detail))


def outputs_of(record: Key, envelope: Envelope) -> Iterator[tuple[Key, str, Envelope]]:
    """The entries that have to be written from a record: key, target and content of each."""
    if not envelope.expanded or not envelope.outputs:
        return
    share = weight.split(envelope.weight, _targets(envelope))
    for index, output in enumerate(envelope.outputs):
        identity = output_id(record.trace, envelope.node, record.input, index)
        yield from _entries_of(record.trace, envelope, identity, output, share)


def _targets(envelope: Envelope) -> int:
    """How many entries follow from a record."""
    inline = sum(len(output.targets) for output in envelope.outputs)
    return inline + sum(part.targets for part in envelope.parts)


def _entries_of(
    trace: str, envelope: Envelope, identity: str, output: Output, share: str
) -> Iterator[tuple[Key, str, Envelope]]:
    for target in output.targets:
        node = EGRESS_TOKEN if target == EGRESS else token(target)
        single = msgspec.structs.replace(output, targets=(target,))
        yield Key(Kind.OUTPUT, trace, node, identity), target, _entry(envelope, single, share)


def _expected(entry: Entry) -> float:
    """When an entry was written, or when what it holds for later is due."""
    due = entry.envelope.outputs[0].due if entry.envelope and entry.envelope.outputs else None
    return max(entry.stored.timestamp, due or 0.0)


def _entry(envelope: Envelope, output: Output, share: str) -> Envelope:
    return msgspec.structs.replace(
        envelope, outputs=(output,), expanded=False, weight=share, error=None
    )


def _same(found: Envelope, expected: Envelope) -> bool:
    return (found.weight, found.node, found.input, found.outcome) == (
        expected.weight,
        expected.node,
        expected.input,
        expected.outcome,
    ) and (
        found.outputs == expected.outputs
        or [_plain(*pair) for pair in zip(found.outputs, expected.outputs, strict=False)]
        == list(expected.outputs)
    )


def _plain(found: Output, expected: Output) -> Output:
    """The output, with the values that went into objects only as it became an entry of its own."""
    values = {
        field: there
        for field in ("payload", "meta")
        if _holds(getattr(found, field), there := getattr(expected, field))
    }
    return msgspec.structs.replace(found, **values)


def _holds(found: msgspec.Raw, value: msgspec.Raw) -> bool:
    claim = claim_of(found)
    digest = None if claim is None else claim[0].rpartition(".")[2]
    return digest is not None and digest == hashlib.sha256(memoryview(value)).hexdigest()


def _by_node(arrivals: list[Arrival]) -> dict[str, list[Arrival]]:
    found: defaultdict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        found[arrival.node].append(arrival)
    return found


def _user_id(books: Books) -> str:
    named = (e.envelope.trace for e in books.entries if e.envelope is not None)
    return next((trace for trace in named if trace), books.trace)


__all__ = ["IDLE", "Fault", "Finding", "Report", "TraceAudit", "audit_trace", "outputs_of"]
