"""What a redrive would do with the dead letters of one trace. Pure.

The trace of a dead letter keeps its state: it failed, and whoever waited for it was told so. So a
letter is submitted as a new trace, at the node where it failed. A node before a join is the
exception that needs more: the join waits for the other branches as well. They reached it in the
old trace, and ended there with it; the new trace gets them again, so that the join can complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from penguiflow.durable.arrivals import Arrival, arrivals_of, groups_of
from penguiflow.durable.dead_letters import Buried
from penguiflow.durable.envelope import (
    DEAD,
    FAILED,
    VERSION,
    Envelope,
    EnvelopeTooNew,
    MalformedEnvelope,
    Output,
    decode,
    encode,
)
from penguiflow.durable.inputs import Input, input_for
from penguiflow.durable.ledger import Books, TraceStatus
from penguiflow.durable.log import Key, Kind
from penguiflow.durable.redrive_journal import Unit
from penguiflow.durable.tokens import derive
from penguiflow.durable.topology import Topology, record_key
from penguiflow.graph import Graph
from penguiflow.node import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How to redrive, beyond submitting what is in the letter.

    Attributes:
        node: Name of the node that gets it; by default the one that failed.
        output: Takes the place of the letter's value.
        trace_id: Of the new trace; by default one that follows from the letters.
        force: Also what would be refused: a cancelled trace, a join that cannot be complete.
        tenant: Whose log it is.
        by: Who redrives, for the record.
    """

    tenant: str
    node: str | None = None
    output: Output | None = None
    trace_id: str | None = None
    force: bool = False
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedrivePlan:
    """What is going to happen to one or several letters of a trace."""

    letters: tuple[Buried, ...]
    status: TraceStatus
    """Of the old trace, which keeps it; `unknown` when it was removed after its retention."""
    unit: Unit | None = None
    """What is written; None when nothing is."""
    resumed: bool = False
    """The unit is an earlier one, of a redrive that was not completed."""
    answered: bool = False
    """The node has answered this input since; the letter is only removed."""
    refused: str = ""
    """Why nothing is going to happen."""
    note: str = ""
    """What else should be known."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """A letter that was looked at."""

    buried: Buried
    output: Output | None = None
    input: str = ""
    """Id of the input of a join, of whose group others may bring it along too."""
    refused: str = ""
    answered: bool = False


def joins_after(graph: Graph, name: str) -> tuple[str, ...]:
    """The joins that a message reaches from a node, the node itself included."""
    seen: dict[Node, None] = {}
    left = [node for node in graph.nodes if str(node.name) == name]
    while left:
        node = left.pop()
        if node not in seen:
            seen[node] = None
            left.extend(graph.successors[node])
    return tuple(str(node.name) for node in seen if node.join is not None)


def plan_trace(
    letters: Sequence[Buried], units: Sequence[Unit], books: Books, topology: Topology, wish: Wish
) -> Iterator[RedrivePlan]:
    """What to do with the letters of one trace.

    Args:
        letters: All of the same trace and flow.
        units: Its earlier redrives.
        books: What the log still holds of it.
        topology: The flow as it is now.
        wish: How to do it.
    """
    status = books.status
    taken = {identity: unit for unit in units for identity in unit.letters}
    numbers = {unit.number: unit for unit in units}
    earlier: dict[int, list[Buried]] = {}
    opened: list[_Opened] = []
    for buried in letters:
        unit = taken.get(buried.id)
        if unit is not None:
            earlier.setdefault(unit.number, []).append(buried)
        else:
            opened.append(_open(buried, books, topology, wish))
    for number, own in earlier.items():
        yield RedrivePlan(
            letters=tuple(own), status=status, unit=numbers[number], resumed=True,
            note="it was taken by an earlier redrive, which is seen through",
        )  # fmt: skip
    ready = []
    for each in opened:
        if each.refused or each.answered:
            yield RedrivePlan(
                letters=(each.buried,), status=status, answered=each.answered, refused=each.refused
            )
        else:
            ready.append(each)
    yield from _units(ready, max(numbers, default=-1) + 1, books, topology, wish)


def _open(buried: Buried, books: Books, topology: Topology, wish: Wish) -> _Opened:
    letter = buried.letter
    target = wish.node or letter.node
    envelope, problem = _read(buried)
    refused = _refusal(target, envelope, books, topology, wish)
    if refused:
        return _Opened(buried, refused=refused)
    found = None if envelope is None else input_for(letter.stored, envelope, letter.node)
    if found is not None and not _joins(topology, letter.node):
        record = record_of(books, letter.node, found)
        if record is not None and record.outcome not in (FAILED, DEAD):
            return _Opened(buried, answered=True)
    if wish.output is None and envelope is None:
        return _Opened(buried, refused=f"it cannot be read here ({problem}); give a payload")
    output = wish.output or (found.output if found is not None else None)
    refused = "" if output is not None else f"it holds nothing for node {letter.node}"
    grouped = found.input_id if found is not None and _joins(topology, letter.node) else ""
    return _Opened(buried, output, input=grouped, refused=refused)


def _read(buried: Buried) -> tuple[Envelope | None, str]:
    try:
        return decode(buried.letter.stored.data), ""
    except (MalformedEnvelope, EnvelopeTooNew) as error:
        return None, str(error)


def _refusal(
    target: str, envelope: Envelope | None, books: Books, topology: Topology, wish: Wish
) -> str:
    if target not in topology.tokens:
        there = ", ".join(topology.tokens)
        return f"the flow has no node {target}; it has {there}; name another one to move it to"
    if books.status is TraceStatus.CANCELLED and not wish.force:
        return "its trace was cancelled, so its work is not wanted"
    if envelope is not None and envelope.tenant != wish.tenant:
        return f"it is of tenant {envelope.tenant!r}, and stays out"
    return ""


def _joins(topology: Topology, name: str) -> bool:
    return any(str(node.name) == name and node.join for node in topology.graph.nodes)


def record_of(books: Books, node: str, found: Input) -> Envelope | None:
    """The record that answers an input, if there is one."""
    records = (
        e.envelope
        for e in books.entries
        if e.stored.key.kind is Kind.RECORD and e.envelope is not None
    )
    return next((r for r in records if (r.node, r.input) == (node, found.input_id)), None)


def _units(
    ready: list[_Opened], number: int, books: Books, topology: Topology, wish: Wish
) -> Iterator[RedrivePlan]:
    """One unit for each letter, and one for all that share a join."""
    together: list[_Opened] = []
    for each in ready:
        target = wish.node or each.buried.letter.node
        if joins_after(topology.graph, target):
            together.append(each)
        else:
            yield _planned([each], (), number, books, wish)
            number += 1
    if together:
        yield _joined(together, number, books, topology, wish)


def _joined(
    letters: list[_Opened], number: int, books: Books, topology: Topology, wish: Wish
) -> RedrivePlan:
    targets = [wish.node or each.buried.letter.node for each in letters]
    names = {name for target in targets for name in joins_after(topology.graph, target)}
    own = {each.input for each in letters}
    partners = [a for name in sorted(names) for a in _ended_in(books, name) if a.input not in own]
    shown, refused = ", ".join(sorted(names)), ""
    if not partners and books.status is TraceStatus.RUNNING:
        refused = f"its trace is still under way, and join {shown} may wait; redrive when it failed"
    elif not partners and books.status is TraceStatus.UNKNOWN:
        refused = (
            f"it leads to join {shown}, and the other branches were removed with its trace; "
            "submit the whole again, or force it: the join then ends as incomplete"
        )
    if refused and not wish.force:
        buried = tuple(each.buried for each in letters)
        return RedrivePlan(letters=buried, status=books.status, refused=refused)
    return _planned(letters, partners, number, books, wish)


def _ended_in(books: Books, name: str) -> list[Arrival]:
    """What waited in the groups of a join that failed."""
    arrivals = [arrival for arrival in arrivals_of(books.entries) if arrival.node == name]
    records = [
        entry.envelope
        for entry in books.entries
        if entry.stored.key.kind is Kind.RECORD
        and entry.envelope is not None
        and entry.envelope.node == name
    ]
    failed = {record.input for record in records if record.outcome in (FAILED, DEAD)}
    groups = groups_of(name, arrivals, records).records
    return [arrival for group, own in groups.items() if group in failed for arrival in own]


def _planned(
    letters: Sequence[_Opened],
    partners: Sequence[Arrival],
    number: int,
    books: Books,
    wish: Wish,
) -> RedrivePlan:
    ids = tuple(each.buried.id for each in letters)
    first = letters[0].buried
    trace = first.letter.stored.key.trace
    new_trace = wish.trace_id or derive("redrive", first.flow, trace, number, *ids)
    outputs = [
        readdressed(each.output, wish.node or each.buried.letter.node, new_trace)
        for each in letters
        if each.output is not None
    ]
    for arrival in partners:
        envelope = arrival.entry.envelope
        assert envelope is not None  # noqa: S101 - an arrival was read
        outputs.append(readdressed(envelope.outputs[0], arrival.node, new_trace))
    entry = Envelope(
        v=VERSION,
        tenant=wish.tenant,
        flow=first.flow,
        trace=new_trace,
        input=derive("redrive", trace, number, *ids),
        outputs=tuple(outputs),
        expanded=True,
    )
    unit = Unit(
        trace=trace, number=number, letters=ids, new_trace=new_trace, entry=encode(entry),
        by=wish.by,
    )  # fmt: skip
    note = f"with {len(partners)} inputs of a join that ended without it" if partners else ""
    buried = tuple(each.buried for each in letters)
    return RedrivePlan(letters=buried, status=books.status, unit=unit, note=note)


def readdressed(output: Output, node: str, trace: str) -> Output:
    """The same value for one node of another trace. A deadline was for the old one."""
    return msgspec.structs.replace(
        output, targets=(node,), trace_id=trace, deadline_s=None, due=None
    )


def traceparent_in(buried: Buried) -> str | None:
    """The W3C trace context of a letter's input; None when it has none, or cannot be read."""
    envelope, _ = _read(buried)
    return None if envelope is None else envelope.traceparent


def input_of(buried: Buried, topology: Topology) -> tuple[Envelope, Input, Key] | None:
    """What a letter was for, with the key of its record; None when nobody can say."""
    letter = buried.letter
    envelope, _ = _read(buried)
    if envelope is None:
        return None
    found = input_for(letter.stored, envelope, letter.node)
    if found is None or letter.node not in topology.tokens or _joins(topology, letter.node):
        return None
    key = record_key(letter.stored.key.trace, topology.tokens[letter.node], found.input_id)
    return envelope, found, key


__all__ = [
    "RedrivePlan",
    "Wish",
    "input_of",
    "joins_after",
    "plan_trace",
    "readdressed",
    "traceparent_in",
]
