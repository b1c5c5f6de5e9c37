"""What must hold when the storm is over. Pure: from what was written and what clients were told."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from penguiflow.durable.audit import audit_trace
from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.envelope import EGRESS, Envelope, decode
from penguiflow.durable.inputs import input_for
from penguiflow.durable.ledger import Books, TraceStatus
from penguiflow.durable.log import Kind, Stored
from tests.chaos.storm.flow import JOINS


class End(Enum):
    """What the client of a trace was told."""

    RESULT = "result"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    """A cancel came too late and took the result along."""
    FAILED = "failed"
    NONE = "none"


@dataclass(frozen=True)
class Told:
    """The end of a trace, as its client knows it."""

    end: End
    value: Any = None


def violations_of(
    trace: str, written: Sequence[Stored], told: Told, codec: ValueCodec
) -> Iterator[str]:
    """What is wrong with an accepted trace.

    Args:
        trace: Its id.
        written: All that was ever written of it.
        told: What its client was told.
        codec: Reads the values.
    """
    books = Books.of(trace, written)
    if not any(entry.key.kind is Kind.CANCEL for entry in written):
        yield from _completed(books, written, told, codec)
        return
    # What a cancel removed at once may never have been seen, so only its end can be judged.
    wanted = {
        End.CANCELLED: TraceStatus.CANCELLED,
        End.COMPLETED: TraceStatus.COMPLETED,
        End.RESULT: TraceStatus.COMPLETED,
    }.get(told.end)
    if books.status is not wanted:
        yield f"its client was told {told.end.value}, the log says {books.status}"
    ends = [entry for entry in written if entry.key.kind is Kind.END]
    if len(ends) != 1:
        yield f"{len(ends)} end markers"
    for entry in written:
        if ends and entry.sequence > ends[0].sequence:
            yield f"{entry.key} was written after the end"


def _completed(
    books: Books, written: Sequence[Stored], told: Told, codec: ValueCodec
) -> Iterator[str]:
    if told.end is not End.RESULT:
        yield f"its client was told {told.end.value}: {told.value!r}"
    if books.status is not TraceStatus.COMPLETED:
        yield f"it is {books.status}"
    audit = audit_trace(books.trace, written, now=math.inf, idle=0.0, joins=JOINS)
    yield from (f"{f.fault}: node {f.node}, input {f.input}: {f.detail}" for f in audit.findings)
    if audit.open or audit.cancelled or audit.sent != audit.settled:
        yield f"of {audit.sent} inputs {audit.settled} are settled"
    if len(books.results) != 1:
        yield f"{len(books.results)} results"
        return
    (result,) = books.results
    assert result.envelope is not None
    found = input_for(result.stored, result.envelope, EGRESS)
    assert found is not None
    value = codec.unpack_output(found.output).payload
    if value != told.value:
        yield f"its client was given {told.value}, the log holds {value}"
    yield from _derived(written, value, codec)


def _derived(written: Sequence[Stored], result: Any, codec: ValueCodec) -> Iterator[str]:
    """Whether each value was made of the ones that were committed before it, and of all of them."""
    made: dict[str, dict[str, list[str]]] = {"deal": {}, "roll": {}, "seal": {}}
    for entry in written:
        if entry.key.kind is not Kind.RECORD:
            continue
        envelope: Envelope = decode(entry.data)
        for output in envelope.outputs if envelope.node in made else ():
            value = codec.unpack_output(output).payload
            made[envelope.node][value["id"]] = value["of"]
    rolled = sorted(of for ofs in made["roll"].values() for of in ofs)
    if rolled != sorted(made["deal"]):
        yield "what was rolled is not what was dealt"
    if sorted(made["roll"]) != result["of"]:
        yield "what was sealed is not what was rolled"
