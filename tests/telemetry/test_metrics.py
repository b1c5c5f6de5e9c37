"""What is counted and timed, in memory and on a real server."""

from __future__ import annotations

import asyncio

import pytest

from penguiflow import Context, FlowError, Message, Node, NodePolicy, RemoteNode, create
from penguiflow.durable.backlog import watch_backlogs
from penguiflow.durable.client import DurableClient
from penguiflow.remote import (
    RemoteCallRequest,
    RemoteCallResult,
    RemoteStreamEvent,
)
from penguiflow.state import InMemoryStateStore
from penguiflow.telemetry import Instruments
from penguiflow.telemetry import metric_names as m
from penguiflow.telemetry.meters import MOST_SERIES, Tally
from tests.contract.engine.flows import PLAIN, Gate, message, single, square
from tests.contract.engine.houses import LEASE, House
from tests.support.eventually import eventually
from tests.telemetry.metered import Metered
from tests.telemetry.spans import Spans


async def _client(house: House, flow: object, metered: Metered) -> DurableClient:
    log = await house.log(flow)  # type: ignore[arg-type]
    client = DurableClient(flow, log, telemetry=metered.metrics)  # type: ignore[arg-type]
    await client.start()
    return client


async def test_a_hop_is_timed_and_counted_at_both_ends(house: House) -> None:
    metered = Metered()
    first, second = Node(square, name="a", policy=PLAIN), Node(square, name="b", policy=PLAIN)
    flow = create(first.to(second), second.to(), name="two")
    client = await _client(house, flow, metered)
    await house.worker(flow, telemetry=metered.metrics)
    await client.round_trip(message(2), timeout=20)
    await eventually(lambda: metered.total(m.PROCESS, node="b", outcome="ok") == 1)
    assert metered.total(m.PROCESS, node="a", outcome="ok") == 1
    assert metered.total(m.HOP) == 2
    assert metered.total(m.ATTEMPTS, outcome="ok") == 2
    assert metered.total(m.CONSUMED) == 2
    assert metered.total(m.SENT, operation="emit") == 1
    assert metered.total(m.SENT, operation="publish") == 2
    assert metered.total(m.PUBLISH) == 3
    assert metered.total(m.IN_FLIGHT) == 0


async def test_what_runs_is_in_flight_and_a_cancel_is_counted(house: House) -> None:
    metered, gate = Metered(), Gate()
    flow = single(gate.node)
    client = await _client(house, flow, metered)
    await house.worker(flow, telemetry=metered.metrics)
    trace_id = await client.emit(message(1))
    await asyncio.wait_for(gate.started.wait(), 10)
    assert metered.total(m.IN_FLIGHT, node="only") == 1
    assert await client.cancel(trace_id)
    await eventually(lambda: metered.total(m.ATTEMPTS, outcome="cancelled") == 1)
    assert metered.total(m.CANCELS) == 1
    assert metered.total(m.IN_FLIGHT) == 0


async def test_retries_dead_letters_and_their_reasons_are_counted(house: House) -> None:
    metered = Metered()

    async def node(msg: Message, ctx: Context) -> Message:
        raise ValueError("secret text")

    flow = single(node, max_retries=1, backoff_base=0.01)
    client = await _client(house, flow, metered)
    await house.worker(flow, telemetry=metered.metrics)
    trace_id = await client.emit(message(1))
    with pytest.raises(FlowError):
        await client.fetch(trace_id=trace_id, timeout=20)
    await eventually(lambda: metered.total(m.ATTEMPTS, outcome="failed") == 1)
    assert metered.total(m.ATTEMPTS, outcome="retry", error="ValueError") == 1
    assert metered.total(m.RETRIES, node="only") == 1
    assert metered.total(m.DEAD_LETTERS, node="only", reason="failed") == 1
    assert "secret" not in repr(metered.points())


async def test_a_redelivery_is_counted_and_is_no_hop(house: House) -> None:
    metered, gate = Metered(), Gate()
    flow = single(gate.node)
    client = await _client(house, flow, metered)
    dead = await house.worker(flow, telemetry=Metered().metrics, lease=LEASE)
    await client.emit(msg := message(1))
    await asyncio.wait_for(gate.started.wait(), 10)
    await house.kill(dead)
    gate.open.set()
    await house.worker(flow, telemetry=metered.metrics, lease=LEASE)
    await client.fetch(trace_id=msg.trace_id, timeout=30)
    await eventually(lambda: metered.total(m.REDELIVERIES, node="only") >= 1)
    assert metered.total(m.HOP) == 0


async def test_the_backlog_of_each_node_is_seen(house: House) -> None:
    metered, gate = Metered(), Gate()
    flow = single(gate.node)
    client = await _client(house, flow, metered)
    worker = await house.worker(flow, telemetry=metered.metrics, concurrency=1)
    for _ in range(3):
        await client.emit(message(1))
    await asyncio.wait_for(gate.started.wait(), 10)
    (lane,) = worker.lanes
    assert lane.consumption is not None

    class Once:
        """A clock on which the second look never comes."""

        async def sleep(self, seconds: float) -> None:
            await asyncio.Event().wait()

    flow_metrics = metered.metrics.flow(_place(client))
    watching = asyncio.create_task(watch_backlogs([lane], flow_metrics, Once()))  # type: ignore[arg-type]
    await eventually(lambda: metered.total(m.PENDING, node="only") == 2)
    assert metered.total(m.LAG, node="only") == 3
    watching.cancel()
    gate.open.set()


def _place(client: DurableClient) -> object:
    from penguiflow.telemetry import FlowPlace

    return FlowPlace(flow=client.log.flow, tenant=client.log.tenant, system=client.log.system)


async def test_a_local_flow_times_its_nodes_and_its_store() -> None:
    metered = Metered()
    node = Node(square, name="a", policy=NodePolicy(validate="none"))
    flow = create(
        node.to(), name="local", telemetry=metered.metrics, state_store=InMemoryStateStore()
    )
    flow.run()
    await flow.emit(message(2))
    await flow.fetch()
    await flow.stop()
    assert metered.total(m.NODE, node="a", outcome="ok") == 1
    assert metered.total(m.STORE, flow="local") >= 2
    assert metered.total(m.PROCESS) == 0


class _Agent:
    """A transport whose stream stalls on request, by a clock of the test's own."""

    async def send(self, request: RemoteCallRequest) -> RemoteCallResult:
        raise TimeoutError

    async def stream(self, request: RemoteCallRequest) -> object:
        for text in ("a", "b"):
            yield RemoteStreamEvent(text=text)
        yield RemoteStreamEvent(result="done", done=True)

    async def cancel(self, **call: object) -> None:
        """Nothing runs."""


async def test_remote_calls_and_their_streams_are_timed() -> None:
    metered = Metered()
    transport = _Agent()
    unary = RemoteNode(
        transport=transport, skill="ask", agent_url="nats://helper", name="unary", policy=PLAIN
    )
    streams = RemoteNode(
        transport=transport, skill="tell", agent_url="nats://helper", name="streams", streaming=True
    )
    for node in (unary, streams):
        flow = create(
            node.to(), name="calls", telemetry=metered.metrics, emit_errors_to_rookery=True
        )
        flow.run()
        await flow.emit(message(1))
        await flow.fetch()
        await eventually(lambda: metered.total(m.CALLS_IN_FLIGHT) == 0)
        await flow.stop()
    assert metered.total(m.CALL, method="helper/tell", outcome="ok") == 1
    assert metered.total(m.CALL, method="helper/ask", outcome="timeout") >= 1
    assert metered.total(m.CHUNKS, method="helper/tell") == 2
    assert metered.total(m.FIRST_CHUNK, method="helper/tell") == 1
    assert metered.total(m.CALLS_IN_FLIGHT) == 0


async def test_the_tenant_is_told_by_choice_only(house: House) -> None:
    silent, telling = Metered(), Metered(by_tenant=True)
    flow = single(square)
    both = Instruments([silent.metrics, telling.metrics, Spans().tracing])
    client = await _client(house, flow, silent)
    await house.worker(flow, telemetry=both)
    await client.round_trip(msg := message(2), timeout=20)
    await eventually(lambda: telling.total(m.PROCESS, outcome="ok") == 1)
    assert telling.total(m.PROCESS, tenant="default") == 1
    assert "tenant" not in repr(silent.points())
    for metered in (silent, telling):
        assert msg.trace_id not in repr(metered.points())


def test_the_number_of_series_is_bounded() -> None:
    tally = Tally()
    for number in range(MOST_SERIES + 50):
        tally.at((("skill", str(number)),)).value += 1
    points = tally.observed(None)  # type: ignore[arg-type]
    assert len(list(points)) == MOST_SERIES + 1
    assert sum(point.value for point in points) == MOST_SERIES + 50
