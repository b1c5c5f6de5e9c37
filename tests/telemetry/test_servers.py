"""Spans say which server their message went over, and which one after a reconnect."""

from __future__ import annotations

from typing import Any

from penguiflow.telemetry.instrument import FlowPlace
from penguiflow.telemetry.servers import ServerAttributes
from tests.contract.engine.flows import message, single, square
from tests.contract.engine.houses import House, MemoryHouse
from tests.support.eventually import eventually
from tests.telemetry.spans import Spans


async def test_every_span_of_a_message_names_the_server(house: House) -> None:
    spans, flow = Spans(), single(square, name="only")
    client = await house.client(flow, telemetry=spans.tracing)
    await house.worker(flow, telemetry=spans.tracing)
    await client.round_trip(message(2), timeout=20)
    name = client.log.flow
    await eventually(lambda: spans.named(f"process pf.{name}.only"))
    served = {
        span.name: (span.attributes.get("server.address"), span.attributes.get("server.port"))
        for span in spans.all
    }
    wanted = (None, None) if isinstance(house, MemoryHouse) else client.log.server()
    assert set(served.values()) == {wanted}
    assert len(served) == 3
    if wanted != (None, None):
        host, port = wanted  # type: ignore[misc]
        assert (host, f":{port}" in house.server.url) == ("127.0.0.1", True)  # type: ignore[attr-defined]


def test_another_connection_is_another_server() -> None:
    now: Any = ("a", 1)
    attributes = ServerAttributes(FlowPlace(flow="f", server=lambda: now))
    first = attributes.now()
    assert first == {"server.address": "a", "server.port": 1}
    assert attributes.now() is first
    now = None
    assert attributes.now() == {}
    now = ("b", 2)
    assert attributes.now() == {"server.address": "b", "server.port": 2}
    assert ServerAttributes(FlowPlace(flow="local")).now() == {}
