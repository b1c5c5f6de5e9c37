"""One node may emit any number of messages: the record decides, and its outputs follow once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow import Context, FlowError, Message, Node, create
from penguiflow.durable import claims as module
from penguiflow.durable.audit import audit_trace
from penguiflow.durable.audit_parts import read_parts
from penguiflow.durable.envelope import DEAD, WITH_CLAIMS, Envelope
from penguiflow.durable.ledger import Books, TraceStatus
from penguiflow.durable.log import Key, Kind, Log, LogUnavailable, Objects
from penguiflow.durable.topology import everything
from penguiflow.durable.worker import DurableWorker
from tests.contract.engine.flows import PLAIN, answer, message, single, square, sum_of_squares
from tests.contract.engine.houses import House

COUNT = 1_500


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of some sixty outputs; a missing one is believed sooner."""
    monkeypatch.setattr(module, "PART_BYTES", 64 * 1024)
    monkeypatch.setattr(module, "_PAUSE", 0.01)


async def split(msg: Message, ctx: Context) -> None:
    for number in range(msg.payload):
        await ctx.emit(answer(msg, [number, "x" * 1000]))


async def first_of(msg: Message, ctx: Context) -> Message:
    return answer(msg, msg.payload[0])


def fanning() -> Any:
    first, second = Node(split, policy=PLAIN), Node(first_of, policy=PLAIN)
    return create(first.to(second), second.to(), name="fanning")


def record_of(books: Books, node: str) -> Envelope:
    (found,) = [
        e.envelope
        for e in books.entries
        if e.envelope is not None and e.envelope.node == node and e.stored.key.kind is Kind.RECORD
    ]
    return found


async def check(log: Log, trace: str, *, inputs: int) -> None:
    stored = await log.read(everything(trace))
    parts = await read_parts(module.Claims(log), stored)
    audit = audit_trace(trace, stored, now=log.server_time(), parts=parts)
    assert audit.findings == []
    assert (audit.sent, audit.settled) == (inputs, inputs)


async def until_over(client: Any, trace: str) -> TraceStatus:
    for _ in range(600):
        status: TraceStatus = await client.status(trace)
        if status.is_terminal:
            return status
        await asyncio.sleep(0.05)
    pytest.fail("the trace does not end")


class Cut:
    """Ends a worker after it wrote so many outputs."""

    def __init__(self, house: House, worker: DurableWorker, *, after: int) -> None:
        self._house, self._worker, self._left = house, worker, after
        self._append = worker.log.append
        worker.log.append = self.append  # type: ignore[method-assign]
        self.done = asyncio.Event()

    async def append(self, key: Key, data: bytes, **conditions: Any) -> int:
        if key.kind is Kind.OUTPUT:
            self._left -= 1
            if self._left < 0:
                self.done.set()
                raise LogUnavailable("the worker is about to die")
        return await self._append(key, data, **conditions)


class Gone(Objects):
    """Objects of which none is there any more."""

    def __init__(self, objects: Objects) -> None:
        self.put, self.remove_strays = objects.put, objects.remove_strays  # type: ignore[method-assign]

    async def get(self, name: str) -> bytes | None:
        return None


async def test_a_record_of_many_outputs_lies_in_parts(house: House) -> None:
    flow = fanning()
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(COUNT)
    await client.emit(msg)
    assert await until_over(client, msg.trace_id) is TraceStatus.COMPLETED
    books = await client.books(msg.trace_id)
    found = sorted(client.codec.unpack_output(client._output(e)).payload for e in books.results)
    assert found == list(range(COUNT))
    record = record_of(books, "split")
    assert record.v == WITH_CLAIMS
    assert len(record.parts) > 10
    assert sum(part.count for part in record.parts) == COUNT
    await check(client.log, msg.trace_id, inputs=COUNT + 1)


async def test_a_few_outputs_stay_in_their_record(house: House) -> None:
    flow = fanning()
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(50)
    await client.emit(msg)
    assert await until_over(client, msg.trace_id) is TraceStatus.COMPLETED
    record = record_of(await client.books(msg.trace_id), "split")
    assert (len(record.outputs), record.parts) == (50, ())
    await check(client.log, msg.trace_id, inputs=51)


async def test_outputs_that_were_emitted_without_waiting_go_in_parts_too(house: House) -> None:
    async def burst(msg: Message, ctx: Context) -> None:
        for number in range(msg.payload):
            ctx.emit_nowait(answer(msg, [number, "x" * 1000]))

    flow = single(burst)
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(COUNT)
    await client.emit(msg)
    found = [(await client.fetch(trace_id=msg.trace_id, timeout=30)).payload[0] for _ in range(3)]
    assert await until_over(client, msg.trace_id) is TraceStatus.COMPLETED
    assert len(set(found)) == 3
    record = record_of(await client.books(msg.trace_id), "only")
    assert sum(part.count for part in record.parts) == COUNT


async def test_a_worker_that_dies_while_it_writes_the_outputs_loses_and_doubles_none(
    house: House,
) -> None:
    runs = 0

    async def counted(msg: Message, ctx: Context) -> None:
        nonlocal runs
        runs += 1
        await split(msg, ctx)

    first, second = Node(counted, policy=PLAIN, name="split"), Node(first_of, policy=PLAIN)
    flow = create(first.to(second), second.to(), name="fanning")
    dying = await house.worker(flow, lease=0.6)
    cut = Cut(house, dying, after=COUNT // 2)
    client = await house.client(flow)
    msg = message(COUNT)
    await client.emit(msg)
    await asyncio.wait_for(cut.done.wait(), 30)
    await house.kill(dying)
    await house.worker(flow, lease=0.6)
    await house.worker(flow, lease=0.6)
    assert await until_over(client, msg.trace_id) is TraceStatus.COMPLETED
    await check(client.log, msg.trace_id, inputs=COUNT + 1)
    if house.calm:  # else the record may not be taken, and follows from another run
        assert runs == 1


async def test_a_wide_join_is_emitted_once_by_several_workers(house: House) -> None:
    flow = sum_of_squares(COUNT)
    for _ in range(3):
        await house.worker(flow)
    client = await house.client(flow)
    msg = message(COUNT)
    result = await client.round_trip(msg, timeout=60)
    assert result.payload == sum(number**2 for number in range(COUNT))
    assert await until_over(client, msg.trace_id) is TraceStatus.COMPLETED
    books = await client.books(msg.trace_id)
    assert len(books.results) == 1
    assert record_of(books, "join").weight == "1"


async def test_a_wide_join_survives_the_death_of_its_worker(house: House) -> None:
    flow = sum_of_squares(COUNT)
    dying = await house.worker(flow, lease=0.6)
    client = await house.client(flow)
    msg = message(COUNT)
    await client.emit(msg)
    while len(await client.log.read(everything(msg.trace_id))) < COUNT:
        await asyncio.sleep(0.01)
    await house.kill(dying)
    await house.worker(flow, lease=0.6)
    await house.worker(flow, lease=0.6)
    result = await client.fetch(trace_id=msg.trace_id, timeout=60)
    assert result.payload == sum(number**2 for number in range(COUNT))
    assert await until_over(client, msg.trace_id) is TraceStatus.COMPLETED
    assert len((await client.books(msg.trace_id)).results) == 1


async def test_a_wide_join_that_lost_a_branch_ends_with_a_reason(house: House) -> None:
    async def picky(msg: Message, ctx: Context) -> Message:
        if msg.payload == COUNT // 2:
            raise ValueError("this one is broken")
        return await square(msg, ctx)

    parent = sum_of_squares(COUNT)
    nodes = {str(node.name): node for node in parent.graph.nodes}
    middle = Node(picky, policy=PLAIN, name="square")
    flow = create(
        nodes["split"].to(middle),
        middle.to(nodes["join"]),
        nodes["join"].to(nodes["total"]),
        name="lossy",
    )
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(COUNT)
    await client.emit(msg)
    assert await until_over(client, msg.trace_id) is TraceStatus.FAILED
    codes = {
        str((e.envelope.error or {})["code"])
        for e in (await client.books(msg.trace_id)).failures
        if e.envelope is not None
    }
    assert codes == {"JOIN_INCOMPLETE", "NODE_EXCEPTION"}


async def test_outputs_whose_object_is_lost_end_with_a_reason(house: House) -> None:
    """The record is committed, its worker dies, and what it refers to is gone."""
    flow = fanning()
    dying = await house.worker(flow, lease=0.6, nodes=["split"])
    cut = Cut(house, dying, after=100)
    client = await house.client(flow)
    msg = message(COUNT)
    await client.emit(msg)
    await asyncio.wait_for(cut.done.wait(), 30)
    await house.kill(dying)
    other = await house.worker(flow, lease=0.6, start=False)
    other.log.objects = Gone(other.log.objects)
    await other.start()
    assert await until_over(client, msg.trace_id) is TraceStatus.FAILED
    letters = await (await house.letters(flow)).letters()
    assert {letter.reason for letter in letters} == {"object_missing"}
    entries = (await client.books(msg.trace_id)).entries
    written = sum(
        e.stored.key.kind is Kind.OUTPUT and e.envelope is not None and e.envelope.outcome != DEAD
        for e in entries
    )
    assert 0 < written <= 100  # what is on its way when its worker dies may not arrive
    for _ in range(written):
        found = await client.fetch(trace_id=msg.trace_id, timeout=10)
        assert isinstance(found, Message)
    with pytest.raises(FlowError, match="gone or damaged"):
        await client.fetch(trace_id=msg.trace_id, timeout=10)
