"""The judge of the storm finds what it is there for: each kind of violation, made by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from penguiflow.durable.client import DurableClient
from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.envelope import decode, encode
from penguiflow.durable.log import Kind, Stored
from penguiflow.durable.topology import flow_token
from penguiflow.durable.worker import DurableWorker
from penguiflow.memory.dead_letters import MemoryDeadLetters
from penguiflow.memory.log import MemoryLog
from tests.chaos.storm.flow import storm_flow, submission
from tests.chaos.storm.verdict import End, Told, violations_of

TRACE = "ab" * 16
Case = tuple[list[Stored], Told, ValueCodec]


@pytest.fixture
async def case() -> AsyncIterator[Case]:
    """A trace as it should be."""
    flow = storm_flow()
    log = MemoryLog("default", flow_token(flow.graph, flow.name, flow.version))
    async with (
        DurableWorker(flow, log.connect(), MemoryDeadLetters()),
        DurableClient(flow, log.connect()) as client,
    ):
        await client.emit(submission(TRACE))
        result = await client.fetch(trace_id=TRACE, timeout=30)
        async with asyncio.timeout(30):
            while not (await client.status(TRACE)).is_terminal:
                await asyncio.sleep(0.01)
        entries = [entry.stored for entry in (await client.books(TRACE)).entries]
        entries = [entry for entry in entries if entry.key.kind is not Kind.NOTE]
        yield entries, Told(End.RESULT, result.payload), client.codec
    await log.close()


def judge(case: Case) -> str:
    return "\n".join(violations_of(TRACE, *case))


def record(entries: list[Stored], node: str) -> int:
    """Where the first record of a node is."""
    return next(
        n for n, e in enumerate(entries) if e.key.kind is Kind.RECORD and e.key.node == node
    )


def other_value(entry: Stored, codec: ValueCodec) -> Stored:
    """The same entry, as another run of the node would have written it."""
    envelope = decode(entry.data)
    message = codec.unpack_output(envelope.outputs[0])
    changed = message.model_copy(update={"payload": {**message.payload, "id": "another"}})
    output = codec.pack_output(changed, envelope.outputs[0].targets, TRACE)
    outputs = (output, *envelope.outputs[1:])
    return msgspec.structs.replace(
        entry, data=encode(msgspec.structs.replace(envelope, outputs=outputs))
    )


def test_a_trace_as_it_should_be_is_not_objected_to(case: Case) -> None:
    assert judge(case) == ""


def _twice(entries: list[Stored], codec: ValueCodec) -> None:
    late = other_value(entries[record(entries, "seal")], codec)
    entries.append(msgspec.structs.replace(late, sequence=entries[-1].sequence + 1))


def _other_output(entries: list[Stored], codec: ValueCodec) -> None:
    at = next(n for n, e in enumerate(entries) if e.key.kind is Kind.OUTPUT)
    entries[at] = other_value(entries[at], codec)


def _other_record(entries: list[Stored], codec: ValueCodec) -> None:
    at = record(entries, "roll")
    entries[at] = other_value(entries[at], codec)


def _lost_record(entries: list[Stored], codec: ValueCodec) -> None:
    del entries[record(entries, "roll")]


def _lost_result(entries: list[Stored], codec: ValueCodec) -> None:
    del entries[record(entries, "seal")]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (_twice, "its key is in the log again"),
        (_other_output, "the output differs from what its record says"),
        (_other_record, "what was sealed is not what was rolled"),
        (_lost_record, "no record"),
        (_lost_result, "it is running"),
    ],
)
def test_damage_is_found(
    case: Case, damage: Callable[[list[Stored], ValueCodec], Any], found: str
) -> None:
    entries, told, codec = case
    damage(entries, codec)
    assert found in judge((entries, told, codec))


@pytest.mark.parametrize(
    "told",
    [
        Told(End.RESULT, {"id": "never committed", "of": []}),
        Told(End.FAILED, "why"),
        Told(End.NONE),
        Told(End.CANCELLED),
    ],
)
def test_a_client_that_was_told_something_else_is_found(case: Case, told: Told) -> None:
    entries, _, codec = case
    assert "its client was" in judge((entries, told, codec))
