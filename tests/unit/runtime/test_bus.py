"""The message bus of a local flow: it hears everything and changes nothing."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from penguiflow import BusEnvelope, MessageBus, create
from tests.support.flows import chain, message, node, passing, settle
from tests.unit.runtime.conftest import Run


class Bus:
    """Keeps what it hears; waits for a gate or fails if it is told to."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.heard: list[BusEnvelope] = []
        self.error = error
        self.gate: asyncio.Event | None = None

    async def publish(self, envelope: BusEnvelope) -> None:
        self.heard.append(envelope)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error


async def test_one_envelope_more_than_nodes(run: Run) -> None:
    bus = Bus()
    assert isinstance(bus, MessageBus)
    flow = run(chain(*[passing(name) for name in "abc"], message_bus=bus))
    sent = message("x", trace_id="t", meta={"k": 1})
    await flow.emit(sent)
    await flow.fetch()
    assert [(e.edge, e.source, e.target) for e in bus.heard] == [
        ("OpenSea->a", "OpenSea", "a"), ("a->b", "a", "b"), ("b->c", "b", "c"),
        ("c->Rookery", "c", "Rookery"),
    ]  # fmt: skip
    first = bus.heard[0]
    assert first.payload is sent
    assert first.trace_id == "t"
    assert first.headers == {"tenant": "acme", "topic": None, "priority": 0}
    assert first.meta == {"k": 1}
    assert first.meta is not sent.meta


async def test_envelope_of_a_plain_value(run: Run) -> None:
    bus = Bus()
    flow = run(create(passing("n").to(), message_bus=bus))
    await flow.emit("plain")
    await flow.fetch()
    envelope = bus.heard[0]
    assert (envelope.payload, envelope.headers, envelope.meta) == ("plain", None, None)
    assert envelope.trace_id is None


async def test_emit_awaits_the_bus_before_it_enqueues(run: Run) -> None:
    bus = Bus()
    bus.gate = asyncio.Event()
    flow = create(passing("n").to(), message_bus=bus)
    emitting = asyncio.create_task(flow.emit("x"))
    await settle()
    assert len(bus.heard) == 1
    assert flow._host.unfinished() == 0
    bus.gate.set()
    await emitting
    assert flow._host.unfinished() == 1


async def test_emit_nowait_does_not_wait_for_the_bus(run: Run) -> None:
    bus = Bus()
    bus.gate = asyncio.Event()
    flow = create(passing("n").to(), message_bus=bus)
    flow.emit_nowait("x")
    assert flow._host.unfinished() == 1
    assert bus.heard == []
    await settle()
    assert len(bus.heard) == 1
    bus.gate.set()
    await flow.stop()


@pytest.mark.parametrize("error", [ValueError("down"), asyncio.CancelledError()])
async def test_failing_bus_loses_no_message(
    run: Run, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    flow = run(create(passing("n").to(), message_bus=Bus(error)))
    await flow.emit(message("x", trace_id="t"))
    assert (await flow.fetch()).payload == "x"
    record = caplog.records[0]
    assert (record.name, record.levelno) == ("penguiflow.core", logging.ERROR)
    assert record.__dict__["event"] == "message_bus_publish_failed"
    assert record.__dict__["edge"] == "OpenSea->n"
    assert record.__dict__["trace_id"] == "t"
    assert record.__dict__["exception"] == repr(error)


async def test_consumer_of_the_bus_does_not_repeat_what_the_flow_does(run: Run) -> None:
    runs: list[Any] = []

    async def count(msg: Any, ctx: Any) -> Any:
        runs.append(msg)
        return msg

    bus = Bus()
    flow = run(create(node(count).to(), message_bus=bus))
    await flow.emit("x")
    await flow.fetch()
    await settle()
    assert runs == ["x"]


async def test_emit_nowait_is_told_before_what_it_leads_to(run: Run) -> None:
    bus = Bus()
    flow = run(chain(passing("a"), passing("b"), message_bus=bus))
    await settle()
    flow.emit_nowait(message())
    await flow.fetch()
    await flow.stop()
    assert [e.edge for e in bus.heard] == ["OpenSea->a", "a->b", "b->Rookery"]
