"""Writes in batches: each keeps its own conditions and answer, and slow ways are given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from math import inf

import pytest

from penguiflow import Context, Headers, Message, Node, NodePolicy, create
from penguiflow.durable.audit import audit_trace
from penguiflow.durable.client import DurableClient
from penguiflow.durable.log import (
    AlreadyCommitted,
    EntryTooLarge,
    InputGone,
    Key,
    Kind,
    Pattern,
    Position,
)
from penguiflow.durable.tokens import trace_token
from penguiflow.durable.topology import end_key
from penguiflow.durable.worker import DurableWorker
from penguiflow_nats.connection import Connection
from penguiflow_nats.dead_letters import NatsDeadLetters
from penguiflow_nats.group_commit import GroupCommit
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.server_cluster import ServerCluster
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.streams import Storage


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as running:
        yield running


@pytest.fixture
async def log(server: EmbeddedServer) -> AsyncIterator[JetStreamLog]:
    """A log whose writes go together whenever there are several."""
    connection = await Connection.open(ConnectionSettings(servers=(server.url,)))
    opened = await JetStreamLog.open(connection, flow="f")
    opened.writes = grouping(opened)
    yield opened
    await connection.close()


def grouping(log: JetStreamLog, *, gain: float = 0.0) -> GroupCommit:
    """Batches from the first busy moment on, however fast single writes are."""
    writes = GroupCommit(log.jetstream, slow=inf, gain=gain)
    writes.begin(singles=1.0)
    return writes


def ingress(number: int) -> Key:
    return Key(Kind.INGRESS, f"t{number}", input="x")


def record(number: int) -> Key:
    return Key(Kind.RECORD, f"t{number}", "node", "x")


async def submit(log: JetStreamLog, count: int) -> list[Position]:
    keys = [ingress(number) for number in range(count)]
    sequences = await asyncio.gather(
        *(log.append(key, b"data", absent=end_key(key.trace)) for key in keys)
    )
    return [Position(key, sequence) for key, sequence in zip(keys, sequences, strict=True)]


async def test_writes_that_wait_together_are_stored_together(log: JetStreamLog) -> None:
    positions = await submit(log, 1000)
    assert 0 < log.writes.batches <= 1000 / 16
    for position in (positions[0], positions[511], positions[512], positions[999]):
        stored = await log.get(position.key)
        assert stored is not None
        assert stored.sequence == position.sequence
    assert len({position.sequence for position in positions}) == 1000


async def test_one_that_is_refused_costs_the_others_nothing(log: JetStreamLog) -> None:
    inputs = await submit(log, 40)
    await log.append(record(7), b"first", after=inputs[7])
    await log.purge("t8")
    answers = await asyncio.gather(
        *(log.append(record(n), b"data", after=inputs[n]) for n in range(40)),
        return_exceptions=True,
    )
    assert isinstance(answers[7], AlreadyCommitted)
    assert isinstance(answers[8], InputGone)
    assert all(isinstance(a, int) for n, a in enumerate(answers) if n not in (7, 8))
    assert len(await log.read([Pattern(kind=Kind.RECORD)])) == 39


async def test_one_that_is_too_large_costs_the_others_nothing(log: JetStreamLog) -> None:
    inputs = await submit(log, 40)
    data = {7: b"x" * 2_000_000}
    answers = await asyncio.gather(
        *(log.append(record(n), data.get(n, b"data"), after=inputs[n]) for n in range(40)),
        return_exceptions=True,
    )
    assert isinstance(answers[7], EntryTooLarge)
    assert all(isinstance(answer, int) for n, answer in enumerate(answers) if n != 7)


async def test_the_same_key_twice_in_a_batch_is_stored_once(log: JetStreamLog) -> None:
    inputs = await submit(log, 32)
    answers = await asyncio.gather(
        *(log.append(record(n // 2), b"data", after=inputs[n // 2]) for n in range(64)),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, AlreadyCommitted)]
    assert len(refused) == 32
    assert len(await log.read([Pattern(kind=Kind.RECORD)])) == 32


async def test_few_writes_go_by_themselves(log: JetStreamLog) -> None:
    await submit(log, 8)
    assert log.writes.batches == 0


async def test_a_batch_whose_end_is_unknown_is_repeated(
    log: JetStreamLog, server: EmbeddedServer
) -> None:
    inputs = await submit(log, 200)
    writing = asyncio.gather(
        *(log.append(record(n), b"data", after=inputs[n]) for n in range(200)),
        return_exceptions=True,
    )
    await asyncio.sleep(0)
    await server.kill()
    await server.start()
    answers = await writing
    # Of a batch that was stored before the kill, the repetition finds the keys taken.
    assert all(isinstance(answer, int | AlreadyCommitted) for answer in answers)
    assert len(await log.read([Pattern(kind=Kind.RECORD)])) == 200


async def test_batches_that_are_not_faster_are_given_up(log: JetStreamLog) -> None:
    log.writes = grouping(log, gain=inf)
    await submit(log, 3000)
    assert not log.writes.is_grouping
    tried = log.writes.batches
    await asyncio.gather(*(log.append(record(n), b"data") for n in range(2000)))
    assert log.writes.batches == tried


async def test_batches_are_tried_where_single_writes_are_slow(log: JetStreamLog) -> None:
    for slow, tried in ((inf, True), (0.0, False)):
        log.writes = GroupCommit(log.jetstream, slow=slow, gain=0.0)
        name = "slow" if tried else "fast"
        await asyncio.gather(
            *(log.append(Key(Kind.INGRESS, f"{name}{n}", input="x"), b"data") for n in range(2000))
        )
        assert log.writes.is_grouping is tried


async def test_a_flow_over_batches_loses_nothing_and_does_nothing_twice(
    log: JetStreamLog,
) -> None:
    async def split(msg: Message, ctx: Context) -> None:
        for number in range(3):
            await ctx.emit(msg.model_copy(update={"payload": number}))

    async def hand_on(msg: Message, ctx: Context) -> Message:
        return msg

    plain = NodePolicy(validate="none")
    first, last = Node(split, policy=plain), Node(hand_on, policy=plain)
    flow = create(first.to(last), last.to(), name="f", version="1")
    client = DurableClient(flow, log)
    headers = Headers(tenant="default")
    messages = [Message(payload=0, headers=headers) for _ in range(100)]
    letters = await NatsDeadLetters.open(log)
    async with DurableWorker(flow, log, letters), client:
        await asyncio.gather(*(client.emit(msg) for msg in messages))
        for msg in messages:
            got = [await client.fetch(trace_id=msg.trace_id, timeout=30) for _ in range(3)]
            assert {result.payload for result in got} == {0, 1, 2}
    assert log.writes.batches > 0
    for msg in messages:
        trace = trace_token(msg.trace_id)
        entries = await log.read([Pattern(trace=trace)])
        report = audit_trace(trace, entries, now=log.server_time())
        assert (report.sent, report.settled, report.findings) == (4, 4, [])


@pytest.mark.slow
async def test_batches_keep_their_conditions_on_three_replicas() -> None:
    async with ServerCluster() as cluster:
        connection = await Connection.open(ConnectionSettings(servers=cluster.urls))
        log = await JetStreamLog.open(connection, flow="f", storage=Storage(replicas=3))
        log.writes = grouping(log)
        inputs = await submit(log, 200)
        await log.append(record(7), b"first", after=inputs[7])
        await log.purge("t8")
        answers = await asyncio.gather(
            *(log.append(record(n), b"data", after=inputs[n]) for n in range(200)),
            return_exceptions=True,
        )
        assert isinstance(answers[7], AlreadyCommitted)
        assert isinstance(answers[8], InputGone)
        assert all(isinstance(a, int) for n, a in enumerate(answers) if n not in (7, 8))
        leader = await cluster.stream_leader(log.names.log_stream)
        assert leader is not None
        writing = asyncio.gather(
            *(log.append(Key(Kind.INGRESS, f"u{n}", input="x"), b"data") for n in range(400)),
            return_exceptions=True,
        )
        await asyncio.sleep(0)
        await cluster.kill(leader)
        late = await writing
        assert all(isinstance(answer, int | AlreadyCommitted) for answer in late)
        await cluster.start(leader)
        await cluster.ready()
        stored = await log.read([Pattern(kind=Kind.INGRESS)])
        assert sum(entry.key.trace.startswith("u") for entry in stored) == 400
        assert log.writes.batches > 0
        await connection.close()
