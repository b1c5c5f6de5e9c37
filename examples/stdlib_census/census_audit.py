"""The audit of the census, from what is stored on the server and from nothing else.

The generic audit asks whether every input of every node was answered once. For the files there is
more to ask: was what a file's record says counted in its package, once?
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from census_models import ModuleMetrics, SourceFile

from penguiflow.durable.arrivals import arrivals_of
from penguiflow.durable.audit import Fault, audit_trace
from penguiflow.durable.claims import Claims
from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.envelope import Envelope
from penguiflow.durable.ledger import Books
from penguiflow.durable.log import Kind, Stored
from penguiflow.types import Message


@dataclass(frozen=True, slots=True)
class FileTime:
    """How long a file took: from the moment it lay in the log until its figures did."""

    seconds: float
    path: str
    trace: str
    """The trace id."""
    input: str
    """What the parse node knows the file by."""


@dataclass(slots=True)
class CensusAudit:
    """What became of the files."""

    sent: int = 0
    settled: int = 0
    lost: int = 0
    twice: int = 0
    slowest: FileTime | None = None
    notes: list[str] = field(default_factory=list)
    """What is wrong, each as a line."""
    labels: dict[tuple[str, str], str] = field(default_factory=dict)
    """What the parse node's inputs are, for readers."""

    @property
    def is_clean(self) -> bool:
        """Whether every file was counted exactly once."""
        return self.sent == self.settled > 0 and not self.lost and not self.twice

    def line(self, killed: int) -> str:
        """The last line of the demo."""
        trace = self.slowest.trace if self.slowest else "none"
        return (
            f"audit: sent={self.sent} settled={self.settled} lost={self.lost} "
            f"twice={self.twice} killed={killed} trace={trace}"
        )


async def audit_census(
    traces: Iterable[tuple[str, Sequence[Stored]]],
    codec: ValueCodec,
    claims: Claims,
    *,
    now: float,
) -> CensusAudit:
    """The audit of all traces: the token of each, and its entries.

    Args:
        traces: What is on the server.
        codec: Reads the values.
        claims: Fetches those that lie in objects.
        now: The time by the server's clock.
    """
    audit = CensusAudit()
    for trace, stored in traces:
        await _Trace(trace, stored, codec, claims, audit=audit, now=now).audit()
    return audit


class _Trace:
    """One package."""

    def __init__(
        self,
        trace: str,
        stored: Sequence[Stored],
        codec: ValueCodec,
        claims: Claims,
        *,
        audit: CensusAudit,
        now: float,
    ) -> None:
        self._token = trace
        self._stored = stored
        self._codec = codec
        self._claims = claims
        self._audit = audit
        self._now = now
        self._books = Books.of(trace, stored)

    async def audit(self) -> None:
        """Add this trace to the audit."""
        self._generic()
        files = {a.input: a for a in arrivals_of(self._books.entries) if a.node == "parse"}
        records = {r.input: (r, s) for r, s in self._records("parse")}
        counted: Counter[str] = Counter()
        for record, _ in self._records("package"):
            counted.update(await self._paths(record))
        for identity, arrival in files.items():
            self._audit.sent += 1
            file = SourceFile.model_validate(await self._payload(arrival.entry.envelope))
            self._audit.labels["parse", identity] = file.path
            found = records.get(identity)
            times = counted.pop(file.path, 0) if found is not None else 0
            if times == 1 and found is not None:
                self._audit.settled += 1
                took = found[1].timestamp - arrival.entry.stored.timestamp
                self._timed(FileTime(took, file.path, found[0].trace, identity))
            elif times > 1:
                self._fault(Fault.TWICE, f"{file.path} is counted {times} times in its package")
            elif found is not None:
                self._fault(Fault.LOST, f"{file.path} was parsed and is not in its package")
            else:
                self._audit.notes.append(f"not settled: {file.path}")
        for path, times in counted.items():
            self._fault(Fault.TWICE, f"{path} is counted {times} times and belongs to no file")

    def _generic(self) -> None:
        for finding in audit_trace(
            self._token, self._stored, now=self._now, joins=("package",)
        ).findings:
            where = f"trace {finding.trace}, node {finding.node}, input {finding.input}"
            self._fault(finding.fault, f"{where}: {finding.detail}")

    def _records(self, node: str) -> list[tuple[Envelope, Stored]]:
        return [
            (e.envelope, e.stored)
            for e in self._books.entries
            if e.envelope is not None
            and e.stored.key.kind is Kind.RECORD
            and e.envelope.node == node
            and e.envelope.outputs
        ]

    async def _paths(self, record: Envelope) -> list[str]:
        return [ModuleMetrics.model_validate(item).path for item in await self._payload(record)]

    async def _payload(self, envelope: Envelope | None) -> Any:
        assert envelope is not None  # noqa: S101 - what could not be read is no arrival
        # The figures of a large package lie in an object; the record has a claim check.
        value = self._codec.unpack_output(await self._claims.output(envelope.outputs[0]))
        return value.payload if isinstance(value, Message) else value

    def _timed(self, file: FileTime) -> None:
        if self._audit.slowest is None or file.seconds > self._audit.slowest.seconds:
            self._audit.slowest = file

    def _fault(self, fault: Fault, note: str) -> None:
        if fault is Fault.LOST:
            self._audit.lost += 1
        else:
            self._audit.twice += 1
        self._audit.notes.append(f"{fault}: {note}")
