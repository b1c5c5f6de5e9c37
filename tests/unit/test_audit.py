"""The audit finds what was lost and what was done twice, and nothing else.

The entries are the engine's own, from runs in memory; each fault is put in by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from penguiflow.durable import claims
from penguiflow.durable.audit import Fault, Report, TraceAudit, audit_trace
from penguiflow.durable.audit_parts import read_parts
from penguiflow.durable.client import DurableClient
from penguiflow.durable.envelope import Envelope, decode, encode
from penguiflow.durable.ledger import TraceStatus
from penguiflow.durable.log import Key, Kind, Pattern, Stored
from penguiflow.durable.tokens import trace_token
from tests.contract.engine.flows import message, single, sum_of_squares
from tests.contract.engine.houses import MemoryHouse

LATER = 1e12
"""A time at which every trace is idle."""


class Run:
    """The entries of one trace of the squares flow: split in 3, square each, join, sum up."""

    def __init__(self, stored: list[Stored]) -> None:
        self.stored = stored

    def audit(self, *, now: float = 0.0, joins: tuple[str, ...] = ()) -> TraceAudit:
        return audit_trace(self.stored[0].key.trace, self.stored, now=now, joins=joins)

    def of(self, kind: Kind, node: str) -> list[Stored]:
        return [e for e in self.stored if e.key.kind is kind and e.key.node == node]

    def drop(self, *gone: Stored) -> Run:
        return Run([e for e in self.stored if e not in gone])

    def change(self, entry: Stored, change: Callable[[Envelope], Envelope]) -> Run:
        changed = msgspec.structs.replace(entry, data=encode(change(decode(entry.data))))
        return Run([changed if e is entry else e for e in self.stored])

    def add(self, key: Key, data: bytes) -> Run:
        last = self.stored[-1]
        return Run([*self.stored, Stored(key, last.sequence + 1, last.timestamp, data)])


async def run_of(flow: Any, payload: Any, *, waits: bool = True, results: int = 1) -> Run:
    house = MemoryHouse()
    try:
        if waits:
            await house.worker(flow)
        client = await house.client(flow)
        trace = await client.emit(message(payload))
        for _ in range(results if waits else 0):
            await client.fetch(trace_id=trace, timeout=10)
            await _quiet(client, trace)
        return Run(await client.log.read([Pattern(trace=trace_token(trace))]))
    finally:
        await house.close()


async def _quiet(client: DurableClient, trace: str) -> None:
    """Wait until nothing more is written; a group that stays incomplete never ends its trace."""
    before = -1
    while len(entries := (await client.books(trace)).entries) != before:
        before = len(entries)
        await asyncio.sleep(0.1)


@pytest.fixture
async def squares() -> Run:
    return await run_of(sum_of_squares(3), 3)


def faults(audit: TraceAudit) -> list[tuple[Fault, str]]:
    return [(finding.fault, finding.node) for finding in audit.findings]


def test_a_complete_trace_is_clean_and_every_input_of_every_node_counts(squares: Run) -> None:
    audit = squares.audit()
    assert audit.status is TraceStatus.COMPLETED
    assert audit.findings == []
    # the submission, three squares, three at the join, one total
    assert (audit.sent, audit.settled) == (8, 8)


async def test_an_unfinished_trace_is_open_until_it_is_idle() -> None:
    run = await run_of(sum_of_squares(3), 3, waits=False)
    fresh = run.audit()
    assert (fresh.sent, fresh.settled, fresh.open, fresh.findings) == (1, 0, 1, [])
    idle = run.audit(now=LATER)
    assert (idle.open, faults(idle)) == (0, [(Fault.LOST, "split")])


def test_a_missing_record_is_lost(squares: Run) -> None:
    run = squares.drop(squares.of(Kind.RECORD, "total")[0])
    assert faults(run.audit(now=LATER)) == [(Fault.LOST, "total")]


def test_a_join_whose_group_has_no_record_loses_each_of_its_inputs(squares: Run) -> None:
    record = squares.of(Kind.RECORD, "join")[0]
    run = squares.drop(record, *squares.of(Kind.RECORD, "total"))
    for joins in ((), ("join",)):
        audit = run.audit(now=LATER, joins=joins)
        assert faults(audit) == [(Fault.LOST, "join")] * 3
        assert (audit.sent, audit.settled) == (7, 4)


def test_an_output_that_was_never_written_is_lost(squares: Run) -> None:
    output = squares.of(Kind.OUTPUT, "square")[0]
    answer = next(r for r in squares.of(Kind.RECORD, "square") if r.key.input == output.key.input)
    run = squares.drop(output, answer, *squares.of(Kind.RECORD, "join"))
    audit = run.drop(*squares.of(Kind.RECORD, "total")).audit(now=LATER, joins=("join",))
    assert (Fault.LOST, "square") in faults(audit)
    assert {fault for fault, _ in faults(audit)} == {Fault.LOST}


def test_a_key_that_the_log_holds_twice_is_found(squares: Run) -> None:
    record = squares.of(Kind.RECORD, "square")[0]
    run = squares.add(record.key, record.data)
    assert faults(run.audit()) == [(Fault.TWICE, "square")]


def test_an_output_that_differs_from_its_record_is_a_contradiction(squares: Run) -> None:
    output = squares.of(Kind.OUTPUT, "square")[0]
    other = decode(squares.of(Kind.OUTPUT, "square")[1].data).outputs

    def change(envelope: Envelope) -> Envelope:
        return msgspec.structs.replace(envelope, outputs=other)

    assert faults(squares.change(output, change).audit()) == [(Fault.TWICE, "square")]


def test_an_output_with_another_share_is_a_contradiction(squares: Run) -> None:
    output = squares.of(Kind.OUTPUT, "square")[0]
    run = squares.change(output, lambda e: msgspec.structs.replace(e, weight="1/5"))
    assert (Fault.TWICE, "square") in faults(run.audit())


def test_an_output_that_follows_from_no_record_is_a_contradiction(squares: Run) -> None:
    output = squares.of(Kind.OUTPUT, "square")[0]
    key = Key(Kind.OUTPUT, output.key.trace, "square", "0" * 32)
    assert (Fault.TWICE, "square") in faults(squares.add(key, output.data).audit())


def test_a_second_record_for_one_input_under_another_id_answers_nothing(squares: Run) -> None:
    record = squares.of(Kind.RECORD, "square")[0]
    key = Key(Kind.RECORD, record.key.trace, "square", "f" * 32)
    data = encode(msgspec.structs.replace(decode(record.data), input=key.input))
    found = faults(squares.add(key, data).audit())
    assert (Fault.TWICE, "square") in found


def test_a_record_that_says_that_it_is_of_another_node_is_a_contradiction(squares: Run) -> None:
    record = squares.of(Kind.RECORD, "total")[0]
    run = squares.change(record, lambda e: msgspec.structs.replace(e, node="elsewhere"))
    assert (Fault.TWICE, "total") in faults(run.audit())


def test_a_join_whose_share_is_not_that_of_its_inputs_is_a_contradiction(squares: Run) -> None:
    record = squares.of(Kind.RECORD, "join")[0]
    run = squares.change(record, lambda e: msgspec.structs.replace(e, weight="1/7"))
    assert (Fault.TWICE, "join") in faults(run.audit())


def test_an_unreadable_entry_is_lost(squares: Run) -> None:
    key = Key(Kind.OUTPUT, squares.stored[0].key.trace, "square", "1" * 32)
    assert (Fault.LOST, "square") in faults(squares.add(key, b"\xff\xff").audit())


async def test_groups_of_a_join_that_joins_several_times_are_told_apart() -> None:
    run = await run_of(sum_of_squares(2), 4, results=2)
    audit = run.audit()
    assert (audit.sent, audit.settled, audit.findings) == (11, 11, [])


async def test_a_left_over_input_of_a_join_is_lost_and_the_others_are_not() -> None:
    run = await run_of(sum_of_squares(2), 3)
    audit = run.audit(now=LATER)
    assert faults(audit) == [(Fault.LOST, "join")]


async def test_a_failed_input_has_its_answer() -> None:
    async def fail(msg: Any, ctx: Any) -> None:
        text = "no"
        raise ValueError(text)

    run = await run_of(single(fail, errors=True), 1)
    audit = run.audit()
    assert (audit.status, audit.sent, audit.settled) == (TraceStatus.FAILED, 1, 1)
    assert audit.findings == []


async def test_what_a_cancel_left_unanswered_is_cancelled_and_not_lost() -> None:
    run = await run_of(sum_of_squares(3), 3, waits=False)
    ingress = decode(run.stored[0].data)
    marker = msgspec.structs.replace(ingress, outcome="cancelled", outputs=(), input="")
    run = run.add(Key(Kind.END, run.stored[0].key.trace), encode(marker))
    audit = run.audit(now=LATER)
    assert (audit.status, audit.cancelled, audit.findings) == (TraceStatus.CANCELLED, 1, [])


def test_the_report_adds_up_and_its_line_names_only_what_is_there(squares: Run) -> None:
    record = squares.of(Kind.RECORD, "total")[0]
    report = Report([squares.audit(), squares.drop(record).audit(now=LATER)])
    assert not report.is_clean
    assert report.line() == "sent=16 settled=15 lost=1 twice=0"
    assert Report([squares.audit()]).is_clean


async def test_an_output_that_differs_from_what_lies_in_its_part_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claims, "PART_BYTES", 64 * 1024)
    house, count = MemoryHouse(), 700

    async def many(msg: Any, ctx: Any) -> None:
        for number in range(count):
            await ctx.emit(f"{number}" * 1000)

    try:
        flow = single(many)
        await house.worker(flow)
        client = await house.client(flow)
        trace = await client.emit(message(1))
        for _ in range(count):
            await client.fetch(trace_id=trace, timeout=10)
        run = Run([entry.stored for entry in (await client.books(trace)).entries])
        parts = await read_parts(claims.Claims(client.log), run.stored)
    finally:
        await house.close()
    assert sum(len(outputs) for outputs in parts.values()) == count

    def audit(run: Run) -> TraceAudit:
        return audit_trace(run.stored[0].key.trace, run.stored, now=LATER, parts=parts)

    one, other = [e for e in run.stored if e.key.kind is Kind.OUTPUT][:2]
    (output,) = decode(other.data).outputs
    damaged = run.change(one, lambda entry: msgspec.structs.replace(entry, outputs=(output,)))
    assert audit(run).findings == []
    assert damaged.audit().findings == []  # as long as nobody reads the part
    assert [(f.fault, f.input) for f in audit(damaged).findings] == [(Fault.TWICE, one.key.input)]
    assert [(f.fault, f.input) for f in audit(run.drop(one)).findings] == [
        (Fault.LOST, one.key.input)
    ]
