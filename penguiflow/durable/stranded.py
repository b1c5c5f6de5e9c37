"""Inputs that nobody reads since the flow has another graph, and how they go to a node that is.

A graph that changes under the same version leaves them behind: their node is gone, or reads its
parents' records no more. To move
one is to do what its node would have done, had it passed its input on: a record is committed for
it, with the new node as target. So an old worker that wakes up after all cannot process it too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from penguiflow.durable.arrivals import Arrival, arrivals_of, groups_of
from penguiflow.durable.audit import outputs_of
from penguiflow.durable.envelope import Envelope, decode, encode
from penguiflow.durable.ledger import Books, TraceStatus
from penguiflow.durable.log import AlreadyCommitted, InputGone, Key, Kind, Log, Position
from penguiflow.durable.tokens import token
from penguiflow.durable.topology import Topology, record_key


@dataclass(frozen=True, slots=True)
class Stranded:
    """One input that nobody processes, or a record of a move that was cut off."""

    trace: str
    """Token of its trace."""
    node: str
    """The node that it is for, which is gone or does not read it."""
    arrival: Arrival | None
    """The input; None when it was moved, and what follows is not written yet."""
    record: Position | None = None
    """The record of the move."""


def stranded_in(books: Books, topology: Topology) -> Iterator[Stranded]:
    """What waits in a trace and is read by no consumer of the flow as it is now."""
    if books.status is not TraceStatus.RUNNING or books.cancel_wanted:
        return
    records = [
        (entry.stored, entry.envelope)
        for entry in books.entries
        if entry.stored.key.kind is Kind.RECORD and entry.envelope is not None
    ]
    answered = {(envelope.node, envelope.input) for _, envelope in records}
    arrivals = list(arrivals_of(books.entries))
    unread = [arrival for arrival in arrivals if not _is_read(arrival, topology)]
    for node in sorted({arrival.node for arrival in unread}):
        own = [arrival for arrival in arrivals if arrival.node == node]
        covered = groups_of(node, own, [e for _, e in records if e.node == node]).covered
        for arrival in unread:
            done = arrival.input in covered or (node, arrival.input) in answered
            if arrival.node == node and not done:
                yield Stranded(books.trace, node, arrival)
    there = {entry.stored.key for entry in books.entries}
    asked = {(arrival.node, arrival.input) for arrival in unread}
    for stored, envelope in records:
        missing = any(key not in there for key, _, _ in outputs_of(stored.key, envelope))
        if missing and (envelope.node, envelope.input) in asked:
            yield Stranded(books.trace, envelope.node, None, stored.position)


def _is_read(arrival: Arrival, topology: Topology) -> bool:
    """Whether the consumer of its node reads the entry that holds it."""
    node = next((n for n in topology.graph.nodes if str(n.name) == arrival.node), None)
    envelope = arrival.entry.envelope
    if node is None or envelope is None:
        return False
    kind = arrival.entry.stored.key.kind
    if kind is Kind.INGRESS:
        return arrival.node in topology.ingress
    parents = {str(parent.name) for parent in topology.graph.predecessors[node]}
    return kind is not Kind.RECORD or envelope.node in parents


async def move(log: Log, found: Stranded, to: str, *, by: str) -> bool:
    """Give a stranded input to another node, once.

    Returns:
        False when its trace is gone.

    Raises:
        LogError: the log does not answer; a repeated call goes on.
    """
    record = found.record
    if record is None:
        assert found.arrival is not None  # noqa: S101 - it is one or the other
        key, envelope = _passed_on(found.trace, found.arrival, to, by)
        try:
            sequence = await log.append(
                key, encode(envelope), after=found.arrival.entry.stored.position
            )
            record = Position(key, sequence)
        except AlreadyCommitted:
            stored = await log.get(key)
            if stored is None:
                return False
            record = stored.position
        except InputGone:
            return False
    stored = await log.get(record.key)
    if stored is None:
        return False
    for key, _, entry in outputs_of(record.key, decode(stored.data)):
        try:
            await log.append(key, encode(entry), after=record)
        except AlreadyCommitted:
            continue
        except InputGone:
            return False
    return True


def _passed_on(trace: str, arrival: Arrival, to: str, by: str) -> tuple[Key, Envelope]:
    incoming = arrival.entry.envelope
    assert incoming is not None  # noqa: S101 - an arrival was read
    output = msgspec.structs.replace(incoming.outputs[0], targets=(to,), due=None)
    envelope = Envelope(
        v=incoming.v,  # the value may lie in an object
        tenant=incoming.tenant,
        flow=incoming.flow,
        trace=incoming.trace,
        node=arrival.node,
        input=arrival.input,
        outputs=(output,),
        expanded=True,
        weight=arrival.share,
        client=incoming.client,
        worker=by,
        traceparent=incoming.traceparent,
        tracestate=incoming.tracestate,
    )
    return record_key(trace, token(arrival.node), arrival.input), envelope


__all__ = ["Stranded", "move", "stranded_in"]
