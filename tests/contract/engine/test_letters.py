"""What cannot be processed is buried with its reason, and neighbours go on."""

from __future__ import annotations

import asyncio
import dataclasses

import msgspec
import pytest

from penguiflow import Context, FlowError, Message
from penguiflow.durable.envelope import encode
from penguiflow.durable.log import Key, Kind
from tests.contract.engine.flows import (
    Gate,
    answer,
    message,
    single,
    square,
)
from tests.contract.engine.houses import House


async def test_poison_is_buried_and_neighbours_go_on(house: House) -> None:
    gate = Gate()

    async def node(msg: Message, ctx: Context) -> Message:
        if msg.payload == "poison":
            gate.runs += 1
            await asyncio.Event().wait()
        return answer(msg, "fine")

    flow = single(node)
    client = await house.client(flow)
    poisoned = await client.emit(message("poison"))
    for _ in range(3):
        worker = await house.worker(flow, lease=0.5, max_deliveries=2)
        assert (await client.round_trip(message("ok"), timeout=30)).payload == "fine"
        await asyncio.sleep(0.3)
        await house.kill(worker)
        await asyncio.sleep(0.5)
    await house.worker(flow, lease=0.5, max_deliveries=2)
    with pytest.raises(FlowError, match="never settled"):
        await client.fetch(trace_id=poisoned, timeout=30)
    (letter,) = await (await house.letters(flow)).letters()
    assert letter.reason == "poison"
    if house.calm:  # else a delivery may end before its run begins, and counts all the same
        assert gate.runs == 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xc1 not msgpack", "malformed"),
        (b"", "malformed"),
    ],
)
async def test_a_malformed_entry_is_buried(house: House, data: bytes, reason: str) -> None:
    flow = single(square)
    await house.worker(flow)
    client = await house.client(flow)
    log = await house.log(flow)
    await log.append(Key(Kind.INGRESS, "f" * 32, input="x"), data)
    assert (await client.round_trip(message(2), timeout=30)).payload == 4
    letters = await house.letters(flow)
    for _ in range(100):
        if await letters.letters():
            break
        await asyncio.sleep(0.02)
    (letter,) = await letters.letters()
    assert letter.reason == reason
    assert letter.stored.data == data


async def test_an_entry_of_another_tenant_is_buried(house: House) -> None:
    flow = single(square)
    await house.worker(flow)
    client = await house.client(flow)
    trace_id = await client.emit(message(2))
    await client.fetch(trace_id=trace_id, timeout=30)
    (ingress, *_) = (await client.books(trace_id)).entries
    assert ingress.envelope is not None
    forged = encode(
        type(ingress.envelope)(
            **{name: getattr(ingress.envelope, name) for name in ingress.envelope.__struct_fields__}
            | {"tenant": "acme"}
        )
    )
    await client.log.append(Key(Kind.INGRESS, "a" * 32, input="x"), forged)
    letters = await house.letters(flow)
    for _ in range(100):
        if await letters.letters():
            break
        await asyncio.sleep(0.02)
    (letter,) = await letters.letters()
    assert letter.reason == "wrong_tenant"


async def test_an_entry_of_a_newer_version_is_left_to_newer_workers_then_buried(
    house: House,
) -> None:
    flow = single(square)
    await house.worker(flow, newer_delay=0.05, newer_limit=0.16)
    client = await house.client(flow)
    newer = msgspec.msgpack.encode([99, "default", "x", "y", {"all": "different"}])
    await client.log.append(Key(Kind.INGRESS, "b" * 32, input="x"), newer)
    assert (await client.round_trip(message(2), timeout=30)).payload == 4
    letters = await house.letters(flow)
    for _ in range(200):
        if await letters.letters():
            break
        await asyncio.sleep(0.02)
    (letter,) = await letters.letters()
    assert (letter.reason, letter.deliveries) == ("too_new", 4)
    assert "version 99" in letter.detail


async def test_a_type_that_is_unknown_here_is_buried_as_such(house: House) -> None:
    flow = single(square)
    await house.worker(flow)
    client = await house.client(flow)
    trace_id = await client.emit(message(2))
    await client.fetch(trace_id=trace_id, timeout=30)
    (ingress, *_) = (await client.books(trace_id)).entries
    assert ingress.envelope is not None
    fields = {name: getattr(ingress.envelope, name) for name in ingress.envelope.__struct_fields__}
    strange = client.codec.pack(Strange())
    output = msgspec.structs.replace(
        ingress.envelope.outputs[0], payload=msgspec.Raw(strange.replace(b"Strange", b"Stringe"))
    )
    forged = type(ingress.envelope)(**{**fields, "outputs": (output,), "trace": "c" * 32})
    await client.log.append(Key(Kind.INGRESS, "c" * 32, input="x"), encode(forged))
    with pytest.raises(FlowError, match="Stringe"):
        await client.fetch(trace_id="c" * 32, timeout=30)
    (letter,) = await (await house.letters(flow)).letters()
    assert letter.reason == "unknown_type"


@dataclasses.dataclass
class Strange:
    """A type of this test."""
