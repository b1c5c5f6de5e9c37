"""Values that no message carries go by claim check, and nobody notices."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow import Context, FlowError, Message, Node, create
from penguiflow.clock import SYSTEM_CLOCK
from penguiflow.durable.claims import claimed_size
from penguiflow.durable.codec import ValueTooLarge
from penguiflow.durable.keeper import Keeper
from penguiflow.durable.ledger import TraceStatus
from penguiflow.durable.log import Kind, Log, Objects
from penguiflow.patterns import join_k
from tests.contract.engine.flows import PLAIN, answer, message, single, total
from tests.contract.engine.houses import House

LARGE = 3_000_000
MIB = 1024 * 1024


async def double(msg: Message, ctx: Context) -> Message:
    return answer(msg, msg.payload * 2)


async def seen(log: Log) -> list[str]:
    """The names of all objects."""
    found: list[str] = []

    def note(name: str) -> bool:
        found.append(name)
        return True

    await log.objects.remove_strays(note, before=log.server_time() + 3600)
    return found


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that is missing is believed sooner."""
    monkeypatch.setattr("penguiflow.durable.claims._PAUSE", 0.01)


class Gone(Objects):
    """Objects of which none is there any more."""

    def __init__(self, objects: Objects) -> None:
        self.put, self.remove_strays = objects.put, objects.remove_strays  # type: ignore[method-assign]

    async def get(self, name: str) -> bytes | None:
        return None


async def test_a_large_value_passes_through_all_places(house: House) -> None:
    """As input of a client, as output of a node, as result, and in `meta`."""
    first, second = Node(double, policy=PLAIN, name="a"), Node(double, policy=PLAIN, name="b")
    flow = create(first.to(second), name="large")
    await house.worker(flow)
    client = await house.client(flow)
    sent = message("x" * LARGE, meta={"notes": "y" * LARGE})
    result = await client.round_trip(sent, timeout=30)
    assert result.payload == "x" * LARGE * 4
    assert result.meta == sent.meta
    books = await client.books(sent.trace_id)
    assert books.status is TraceStatus.COMPLETED
    assert max(len(entry.stored.data) for entry in books.entries) < 4096
    assert [e.envelope.v for e in books.entries if e.envelope is not None] == [2, 2, 2]


async def test_a_value_that_is_no_message_may_be_large_too(house: House) -> None:
    async def grow(value: list[int], ctx: Context) -> dict[str, Any]:
        return {"all": value * 2}

    flow = single(grow)
    await house.worker(flow)
    client = await house.client(flow)
    value = list(range(300_000))
    assert await client.round_trip(value, timeout=30) == {"all": value * 2}


async def test_small_values_use_no_objects(house: House) -> None:
    flow = single(double)
    await house.worker(flow)
    client = await house.client(flow)
    assert (await client.round_trip(message("x"), timeout=10)).payload == "xx"
    assert await seen(client.log) == []


async def test_the_same_value_of_a_trace_is_kept_once(house: House) -> None:
    async def same(msg: Message, ctx: Context) -> Message:
        return msg

    flow = single(same)
    await house.worker(flow)
    client = await house.client(flow)
    await client.round_trip(message("x" * LARGE), timeout=30)
    assert len(await seen(client.log)) == 1


async def test_a_join_takes_large_values(house: House) -> None:
    async def spread(msg: Message, ctx: Context) -> None:
        for number in range(3):
            await ctx.emit(answer(msg, [number] * MIB))

    async def count(msg: Message, ctx: Context) -> Message:
        return answer(msg, [len(part) for part in msg.payload])

    first, join, last = Node(spread, policy=PLAIN), join_k("join", 3), Node(count, policy=PLAIN)
    flow = create(first.to(join), join.to(last), name="joins")
    await house.worker(flow)
    client = await house.client(flow)
    assert (await client.round_trip(message(0), timeout=30)).payload == [MIB] * 3


async def test_a_value_beyond_the_limit_is_refused_to_the_client(house: House) -> None:
    flow = single(double)
    client = await house.client(flow, max_value_bytes=LARGE)
    with pytest.raises(ValueTooLarge, match="raise max_value_bytes"):
        await client.emit(message("x" * (LARGE + 1)))


async def test_a_result_beyond_the_limit_fails_its_node_at_once(house: House) -> None:
    runs = []

    async def grow(msg: Message, ctx: Context) -> Message:
        runs.append(ctx.attempt)
        return answer(msg, "x" * (LARGE + 1))

    flow = single(grow, max_retries=3, backoff_base=0.01)
    await house.worker(flow, max_value_bytes=LARGE)
    client = await house.client(flow)
    with pytest.raises(FlowError, match=f"exceed the limit of {LARGE}"):
        await client.round_trip(message(1), timeout=10)
    (letter,) = await (await house.letters(flow)).letters()
    assert letter.reason == "too_large"
    assert set(runs) == {0}  # more often only where a delivery was lost


async def test_an_error_with_large_details_is_not_lost(house: House) -> None:
    async def fail(msg: Message, ctx: Context) -> Message:
        raise ValueError("too much " + "x" * LARGE)

    flow = single(fail)
    await house.worker(flow)
    client = await house.client(flow)
    with pytest.raises(FlowError, match="too much x"):
        await client.round_trip(message(1), timeout=10)


async def test_an_input_whose_object_is_gone_is_a_dead_letter(house: House) -> None:
    flow = single(double)
    client = await house.client(flow)
    worker = await house.worker(flow)
    worker.log.objects = Gone(worker.log.objects)
    trace_id = await client.emit(message("x" * LARGE))
    with pytest.raises(FlowError, match="gone or damaged"):
        await client.fetch(trace_id=trace_id, timeout=20)
    (letter,) = await (await house.letters(flow)).letters()
    assert letter.reason == "object_missing"
    assert await client.status(trace_id) is TraceStatus.FAILED
    assert (await client.round_trip(message("y"), timeout=10)).payload == "yy"


async def test_a_join_of_values_that_are_gone_ends_with_a_reason(house: House) -> None:
    async def spread(msg: Message, ctx: Context) -> None:
        for number in range(2):
            await ctx.emit(answer(msg, [number] * MIB))

    first, join, last = Node(spread, policy=PLAIN), join_k("join", 2), Node(total, policy=PLAIN)
    flow = create(first.to(join), join.to(last), name="joins")
    client = await house.client(flow)
    await house.worker(flow, nodes=["spread", "total"])
    joins = await house.worker(flow, nodes=["join"])
    joins.log.objects = Gone(joins.log.objects)
    trace_id = await client.emit(message(0))
    with pytest.raises(FlowError, match="gone or damaged"):
        await client.fetch(trace_id=trace_id, timeout=20)
    assert await client.status(trace_id) is TraceStatus.FAILED


async def test_objects_stay_as_long_as_their_trace_and_no_longer(house: House) -> None:
    held, started = asyncio.Event(), asyncio.Semaphore(0)

    async def node(msg: Message, ctx: Context) -> Message:
        if msg.payload[0] == "w":
            started.release()
            await held.wait()
        return msg

    flow = single(node)
    await house.worker(flow)
    client = await house.client(flow)
    waiting = await client.emit(message("w" * LARGE))
    await client.round_trip(message("d" * LARGE), timeout=30)
    cancelled = await client.emit(message("w" * LARGE + "c"))
    for _ in range(2):
        await asyncio.wait_for(started.acquire(), 30)
    await client.cancel(cancelled)
    keeper = Keeper(client.log, clock=SYSTEM_CLOCK, retention=0.0, object_grace=-60)  # type: ignore[arg-type]
    await keeper.round()
    assert [name.split(".")[1] for name in await seen(client.log)] == [waiting]
    held.set()
    assert (await client.fetch(trace_id=waiting, timeout=30)).payload == "w" * LARGE
    await keeper.round()
    swept = await keeper.sweep()
    assert swept == 1 if house.calm else swept >= 1  # an upload that failed may have left chunks
    assert await seen(client.log) == []


async def test_objects_without_an_entry_stay_for_their_grace(house: House) -> None:
    """Their entry may be on its way."""
    flow = single(double)
    client = await house.client(flow)
    await client.log.objects.put(f"{client.log.flow}.trace.hash", b"x")
    await client.log.objects.put("another-1.trace.hash", b"x")
    assert await Keeper(client.log, clock=SYSTEM_CLOCK).sweep() == 0  # type: ignore[arg-type]
    strict = Keeper(client.log, clock=SYSTEM_CLOCK, object_grace=-60)  # type: ignore[arg-type]
    assert await strict.sweep() == 1
    assert await seen(client.log) == ["another-1.trace.hash"]


async def test_a_worker_holds_a_bounded_number_of_large_bytes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penguiflow.durable.claims.HELD_BYTES", 2 * LARGE)
    running, most = 0, 0

    async def node(msg: Message, ctx: Context) -> Message:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        return answer(msg, len(msg.payload))

    flow = single(node)
    client = await house.client(flow)
    traces = [await client.emit(message("x" * (LARGE - 100))) for _ in range(6)]
    await house.worker(flow)
    results = [(await client.fetch(trace_id=trace, timeout=30)).payload for trace in traces]
    assert results == [LARGE - 100] * 6
    assert most == 2


async def test_a_claim_is_visible_in_the_entry(house: House) -> None:
    flow = single(double)
    client = await house.client(flow)
    trace_id = await client.emit(message("x" * LARGE))
    (ingress,) = (await client.books(trace_id)).entries
    assert ingress.stored.key.kind is Kind.INGRESS
    assert ingress.envelope is not None
    assert claimed_size(ingress.envelope.outputs[0]) > LARGE
