"""The inputs that a trace's entries hold, node by node, and how a join grouped them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from typing import NamedTuple

from penguiflow.durable import weight
from penguiflow.durable.envelope import EGRESS, Envelope
from penguiflow.durable.inputs import input_for
from penguiflow.durable.ledger import Entry
from penguiflow.durable.tokens import derive
from penguiflow.join import JOIN_TIMEOUT


class Arrival(NamedTuple):
    """One input of one node."""

    node: str
    input: str
    share: str
    entry: Entry
    """The entry that holds it."""


def arrivals_of(entries: Iterable[Entry]) -> Iterator[Arrival]:
    """The inputs of nodes, in the order of the entries; what is for the egress is none."""
    for entry in entries:
        envelope = entry.envelope
        if envelope is None or envelope.expanded or not envelope.outputs:
            continue
        for target in envelope.outputs[0].targets:
            found = None if target == EGRESS else input_for(entry.stored, envelope, target)
            if found is not None:
                yield Arrival(target, found.input_id, found.share, entry)


@dataclass(slots=True)
class Groups:
    """How one node's inputs were joined. Of a node that joins nothing all of it is empty."""

    records: dict[str, list[Arrival]] = field(default_factory=dict)
    """The ids of the groups' records, and the inputs of each."""
    covered: set[str] = field(default_factory=set)
    """The ids of these inputs."""
    late: set[str] = field(default_factory=set)
    """The ids of inputs that came after their group's time was over."""
    unclear: list[str] = field(default_factory=list)
    """Ids of records whose inputs do not add up to the share that they carry on."""

    @property
    def is_join(self) -> bool:
        """Whether the node is known to join, since one of its groups has a record."""
        return bool(self.records or self.unclear)


def groups_of(node: str, arrivals: Sequence[Arrival], records: Sequence[Envelope]) -> Groups:
    """The groups of a node's inputs that have a record.

    A join groups in order of arrival, the same number each time. How many is the flow's secret,
    but the record's share is the sum of its inputs' shares.

    Args:
        node: The node.
        arrivals: All its inputs, in the order of the log.
        records: All its records.
    """
    numbers = {derive("join", node, index): index for index in range(len(arrivals))}
    joined = sorted(
        (numbers[record.input], record) for record in records if record.input in numbers
    )
    groups = Groups()
    if not joined:
        return groups
    known = (_figure(record, "expected") for _, record in joined if arrived_in(record) is not None)
    count = next(known, None) or _count(arrivals, *joined[0])
    for index, record in joined:
        group = list(arrivals[index * count : (index + 1) * count])
        arrived = arrived_in(record)
        if arrived is not None:
            groups.late.update(arrival.input for arrival in group[arrived:])
            group = group[:arrived]
        if group and weight.add(arrival.share for arrival in group) == record.weight:
            groups.records[record.input] = group
            groups.covered.update(arrival.input for arrival in group)
        else:
            groups.unclear.append(record.input)
    if groups.late:
        # Who came too late has a record of its own.
        groups.covered.update(groups.late & {record.input for record in records})
    return groups


def arrived_in(record: Envelope) -> int | None:
    """How many messages a join had when its time was over; None when it was complete."""
    if record.error is None or record.error.get("code") != JOIN_TIMEOUT:
        return None
    return _figure(record, "arrived")


def _figure(record: Envelope, name: str) -> int | None:
    metadata = (record.error or {}).get("metadata")
    found = metadata.get(name) if isinstance(metadata, dict) else None
    return found if isinstance(found, int) else None


def _count(arrivals: Sequence[Arrival], index: int, record: Envelope) -> int:
    """How many inputs make a group, or 0."""
    shares = (weight.parse(arrival.share) for arrival in arrivals)
    upto = list(accumulate(shares, initial=Fraction(0)))
    wanted = weight.parse(record.weight)
    for count in range(1, len(arrivals) // (index + 1) + 1):
        if upto[(index + 1) * count] - upto[index * count] == wanted:
            return count
    return 0


__all__ = ["Arrival", "Groups", "arrivals_of", "arrived_in", "groups_of"]
