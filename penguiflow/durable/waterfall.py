"""The waterfall of a trace: which hop waited for which, how long, and who made it. Pure.

A hop is one input of one node and the record that answers it. Its times are the log's own: it
begins to wait when the log took its input and ends when the log took its record. Only how long the
work itself took is the worker's word, and a difference of durations needs no common clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from penguiflow.durable.arrivals import Arrival, arrivals_of, groups_of
from penguiflow.durable.envelope import Envelope
from penguiflow.durable.ledger import Books, Entry, TraceStatus
from penguiflow.durable.log import Kind

WAITING = "waiting"
"""The outcome of a hop whose record is not there yet."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One input of one node, from the moment it lay in the log."""

    number: int
    """Its place in `Waterfall.hops`."""
    node: str
    input: str
    """The id that the node knows its input by."""
    outcome: str
    """As in the record, or `WAITING`."""
    worker: str
    attempt: int
    """Which attempt ended so, from 1; 0 while waiting."""
    deliveries: int
    """How often the log had delivered the input when the record was written."""
    arrived: float
    """When the log took the input, of a join the last one, in seconds since the epoch."""
    started: float
    """When the attempt that ended so began, by the log's clock."""
    ended: float
    """When the log took the record; while waiting, the latest that is known of the trace."""
    parents: tuple[int, ...]
    """The hops that its inputs come from, the one that came last at the end; none of an ingress."""
    depth: int
    """Hops between it and the ingress on its longest way."""
    joined: int = 1
    """How many inputs it took."""
    error: str = ""

    @property
    def wait(self) -> float:
        """Seconds from the input to the start of the attempt that ended so."""
        return self.started - self.arrived

    @property
    def duration(self) -> float:
        """Seconds of work, the commit included."""
        return self.ended - self.started

    @property
    def latency(self) -> float:
        """Seconds from input to record."""
        return self.ended - self.arrived

    @property
    def is_redelivered(self) -> bool:
        """Whether the log delivered its input more than once: a worker had died or was slow."""
        return self.deliveries > 1

    @property
    def is_settled(self) -> bool:
        """Whether its record is in the log."""
        return self.outcome != WAITING


@dataclass(frozen=True)
class Waterfall:
    """All hops of a trace, in the order in which their inputs came."""

    trace: str
    """The trace id, as its user knows it."""
    status: TraceStatus
    began: float
    """When the log took the first submission."""
    ended: float
    """When the log took the last entry of the trace."""
    submissions: tuple[float, ...]
    """When the log took each."""
    hops: tuple[Hop, ...]

    @classmethod
    def of(cls, books: Books) -> Waterfall:
        """The waterfall of the trace whose entries these are."""
        return _Builder(books).built()

    @property
    def seconds(self) -> float:
        """From the first submission to the last entry."""
        return self.ended - self.began

    @property
    def workers(self) -> tuple[str, ...]:
        """All that took part, in order of appearance."""
        return tuple(dict.fromkeys(hop.worker for hop in self.hops if hop.worker))

    def path_to(self, hop: Hop) -> tuple[int, ...]:
        """The hops that this one had to wait for, from the ingress, and itself."""
        path = [hop.number]
        while hop.parents:
            hop = self.hops[hop.parents[-1]]
            path.append(hop.number)
        return tuple(reversed(path))

    @cached_property
    def critical(self) -> frozenset[int]:
        """The hops that made the trace as long as it is: the way to its last record, and the way
        to and of the input that took longest."""
        kept: set[int] = set()
        settled = [hop for hop in self.hops if hop.is_settled]
        if settled:
            kept.update(self.path_to(max(settled, key=lambda hop: hop.ended)))
            kept.update(self.path_to(max(settled, key=lambda hop: hop.latency)))
        return frozenset(kept)

    def levels(self) -> Iterator[tuple[Hop, ...]]:
        """The hops of each node at each depth, from the ingress on."""
        found: dict[tuple[int, str], list[Hop]] = {}
        for hop in self.hops:
            found.setdefault((hop.depth, hop.node), []).append(hop)
        for key in sorted(found, key=lambda key: (key[0], found[key][0].arrived)):
            yield tuple(found[key])


@dataclass(slots=True)
class _Draft:
    """A hop before its parents are known."""

    node: str
    inputs: list[Arrival]
    record: Entry | None
    identity: str


@dataclass(slots=True)
class _Builder:
    books: Books
    _records: dict[tuple[str, str], Entry] = field(default_factory=dict)

    def built(self) -> Waterfall:
        entries = self.books.entries
        self._records = {
            (entry.envelope.node, entry.envelope.input): entry
            for entry in entries
            if entry.envelope is not None and entry.stored.key.kind is Kind.RECORD
        }
        drafts = sorted(self._drafts(), key=lambda d: d.inputs[-1].entry.stored.sequence)
        times = [entry.stored.timestamp for entry in entries]
        ingress = [e.stored.timestamp for e in entries if e.stored.key.kind is Kind.INGRESS]
        ended = max(times, default=0.0)
        names = (e.envelope.trace for e in entries if e.envelope is not None)
        name = next((name for name in names if name), self.books.trace)
        return Waterfall(
            trace=name,
            status=self.books.status,
            began=min(ingress or times, default=0.0),
            ended=ended,
            submissions=tuple(ingress),
            hops=tuple(_hops(drafts, ended)),
        )

    def _drafts(self) -> Iterator[_Draft]:
        by_node: dict[str, list[Arrival]] = {}
        for arrival in arrivals_of(self.books.entries):
            by_node.setdefault(arrival.node, []).append(arrival)
        for node, arrivals in by_node.items():
            own = [e.envelope for e in self._records.values() if e.envelope]
            groups = groups_of(node, arrivals, [e for e in own if e.node == node])
            for identity, group in groups.records.items():
                yield _Draft(node, group, self._records[node, identity], identity)
            for arrival in arrivals:
                if arrival.input not in groups.covered:
                    record = self._records.get((node, arrival.input))
                    yield _Draft(node, [arrival], record, arrival.input)


def _hops(drafts: list[_Draft], latest: float) -> Iterator[Hop]:
    """A hop's inputs come from earlier hops, so the order of inputs is one in which the parents
    of each are known."""
    known: dict[tuple[str, str], Hop] = {}
    for number, draft in enumerate(drafts):
        made = [known[maker] for each in draft.inputs if (maker := _maker(each)) in known]
        parents = tuple(reversed(dict.fromkeys(reversed(made))))
        hop = _hop(number, draft, parents, latest)
        known[draft.node, draft.identity] = hop
        yield hop


def _maker(arrival: Arrival) -> tuple[str, str]:
    """The hop whose record holds this input, or led to it; of an ingress none has this name."""
    envelope = arrival.entry.envelope
    assert envelope is not None  # noqa: S101 - what could not be read is no arrival
    return envelope.node, envelope.input


def _hop(number: int, draft: _Draft, parents: tuple[Hop, ...], latest: float) -> Hop:
    arrived = draft.inputs[-1].entry.stored.timestamp
    record = draft.record
    envelope = record.envelope if record is not None else None
    ended = record.stored.timestamp if record is not None else latest
    duration = envelope.duration if envelope is not None else 0.0
    return Hop(
        number=number,
        node=draft.node,
        input=draft.identity,
        outcome=envelope.outcome if envelope is not None else WAITING,
        worker=envelope.worker if envelope is not None else "",
        attempt=envelope.attempt + 1 if envelope is not None else 0,
        deliveries=envelope.delivered if envelope is not None else 0,
        arrived=arrived,
        started=min(max(arrived, ended - duration), ended),
        ended=max(arrived, ended),
        parents=tuple(parent.number for parent in parents),
        depth=max((parent.depth + 1 for parent in parents), default=0),
        joined=len(draft.inputs),
        error=_error(envelope),
    )


def _error(envelope: Envelope | None) -> str:
    if envelope is None or envelope.error is None:
        return ""
    return f"{envelope.error.get('code', '')}: {envelope.error.get('message', '')}".strip(": ")


__all__ = ["WAITING", "Hop", "Waterfall"]
