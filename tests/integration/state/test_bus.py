"""The bus: one message per publication, handed out to the workers of other runtimes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from penguiflow import Headers, Message
from penguiflow.bus import BusEnvelope
from penguiflow_nats.bus import NatsMessageBus
from penguiflow_nats.bus_consumer import BusConsumerGone
from penguiflow_nats.bus_wire import BusStorage, stream_name
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ApiError
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.state_settings import ForeignTenant


def envelope(payload: Any = "payload", target: str = "b") -> BusEnvelope:
    return BusEnvelope(f"a->{target}", "a", target, "trace", payload, None, None)


@pytest.fixture
async def bus(connection: Connection) -> AsyncIterator[NatsMessageBus]:
    async with NatsMessageBus(connection, tenant=f"t{uuid4().hex}") as bus:
        yield bus


async def test_publication_that_is_repeated_is_one_message(bus: NatsMessageBus) -> None:
    for _ in range(3):
        await bus.publish(envelope(), message_id="m1")
    await bus.publish(envelope(), message_id="m2")
    async with bus.consume("w") as deliveries:
        found = [await deliveries.next(timeout=2), await deliveries.next(timeout=2)]
        assert [each and each.message_id for each in found] == ["m1", "m2"]
        assert await deliveries.next(timeout=0.2) is None


async def test_repetition_is_refused_after_a_restart_too(server: EmbeddedServer) -> None:
    async with NatsMessageBus(server.url) as bus:
        await bus.publish(envelope(), message_id="m1")
        await server.kill()
        await server.start()
        await bus.publish(envelope(), message_id="m1")
        async with bus.consume("w") as deliveries:
            assert await deliveries.next(timeout=2) is not None
            assert await deliveries.next(timeout=0.3) is None


async def test_workers_of_one_name_share_and_of_two_names_do_not(bus: NatsMessageBus) -> None:
    for number in range(20):
        await bus.publish(envelope(number))
    seen: dict[str, list[int]] = {"one": [], "two": []}

    async def work(name: str) -> None:
        async with bus.consume(name, window=2) as deliveries:
            while (delivery := await deliveries.next(timeout=0.5)) is not None:
                seen[name].append(delivery.envelope.payload)
                await delivery.ack()

    await asyncio.gather(work("one"), work("one"), work("two"))
    assert {name: sorted(numbers) for name, numbers in seen.items()} == {
        "one": list(range(20)),
        "two": list(range(20)),
    }


async def test_message_comes_back_after_a_nak_and_not_after_a_term(bus: NatsMessageBus) -> None:
    await bus.publish(envelope())
    async with bus.consume("w") as deliveries:
        first = await deliveries.next(timeout=2)
        assert first is not None
        await first.nak()
        again = await deliveries.next(timeout=2)
        assert again is not None
        assert (again.num_delivered, again.message_id) == (2, first.message_id)
        await again.term("no use")
        await again.ack()
        assert await deliveries.next(timeout=0.3) is None


async def test_what_was_not_taken_goes_to_the_next_worker_at_once(bus: NatsMessageBus) -> None:
    await bus.publish(envelope())
    async with bus.consume("w", lease=30) as deliveries:
        while not deliveries._ready:
            await asyncio.sleep(0.01)
    async with bus.consume("w", lease=30) as deliveries:
        assert await deliveries.next(timeout=3) is not None


async def test_worker_hears_only_its_nodes(bus: NatsMessageBus) -> None:
    await bus.publish(envelope("for b"))
    await bus.publish(envelope("for c", target="c"))
    async with bus.consume("w", targets=["c", "d"]) as deliveries:
        delivery = await deliveries.next(timeout=2)
        assert delivery is not None
        assert delivery.envelope.payload == "for c"
        assert await deliveries.next(timeout=0.2) is None


async def test_message_comes_as_it_was_sent(bus: NatsMessageBus) -> None:
    message = Message(payload={"n": (1, 2)}, headers=Headers(tenant="t"), meta={"k": ["v"]})
    headers = {"tenant": bus.tenant, "topic": None, "priority": 0}
    sent = BusEnvelope("OpenSea->a", None, "a", message.trace_id, message, headers, {"k": 1})
    await bus.publish(sent)
    async with bus.consume("w") as deliveries:
        async for delivery in deliveries:
            assert delivery.envelope == sent
            assert delivery.message.tenant == bus.tenant
            break


async def test_bytes_that_are_no_message_are_refused_and_the_next_one_comes(
    bus: NatsMessageBus, connection: Connection
) -> None:
    await JetStream(connection).append(f"pf.v1.{bus.tenant}.bus.a.b.t.x", b"\xc1 nonsense")
    await bus.publish(envelope())
    async with bus.consume("w") as deliveries:
        delivery = await deliveries.next(timeout=2)
        assert delivery is not None
        assert delivery.envelope == envelope()


async def test_consumer_that_is_deleted_is_reported(
    bus: NatsMessageBus, connection: Connection
) -> None:
    async with bus.consume("w") as deliveries:
        await JetStream(connection).delete_consumer(stream_name(bus.tenant), "w")
        with pytest.raises(BusConsumerGone):
            await deliveries.next(timeout=8)


async def test_bus_of_a_tenant_refuses_another_tenants_messages(bus: NatsMessageBus) -> None:
    headers = Headers(tenant="globex").model_dump()
    with pytest.raises(ForeignTenant, match="globex"):
        await bus.publish(replace(envelope(), headers=headers))


async def test_full_bus_refuses(connection: Connection) -> None:
    storage = BusStorage(max_bytes=5_000)
    bus = NatsMessageBus(connection, tenant=f"t{uuid4().hex}", storage=storage, patience=0.2)
    await bus.publish(envelope("x" * 4_000))
    with pytest.raises(ApiError):
        await bus.publish(envelope("x" * 4_000))
