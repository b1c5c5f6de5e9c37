"""What workers do for the state store of their flow: they say which traces ended, and sweep it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from penguiflow import Context, Message, Node, NodePolicy, create
from penguiflow.clock import SYSTEM_CLOCK
from penguiflow.durable.keeper import Keeper
from penguiflow.durable.sweeping import Sweeper
from penguiflow_nats import runtime
from penguiflow_nats.connection import Connection
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.state_settings import StateRetention
from penguiflow_nats.state_store import NatsStateStore
from tests.contract.engine.flows import answer, message


async def double(msg: Message, ctx: Context) -> Message:
    return answer(msg, msg.payload * 2)


def doubling(store: object, name: str):  # type: ignore[no-untyped-def]
    node = Node(double, name="double", policy=NodePolicy(validate="none"))
    return create(node.to(), name=name, state_store=store)  # type: ignore[arg-type]


async def test_keeper_marks_each_trace_that_is_over(connection: Connection) -> None:
    store = NatsStateStore(connection, tenant="default")
    flow = doubling(store, "marked")
    async with (
        runtime.worker(flow, connection, retention=None, sweep=None) as worker,
        runtime.client(flow, connection) as client,
    ):
        sent = message(1)
        await client.round_trip(sent, timeout=20)
        assert isinstance(worker.log, JetStreamLog)
        keeper = Keeper(worker.log, clock=SYSTEM_CLOCK, retention=900, ends=store)
        await keeper.round()
    followed = store.follow_history(sent.trace_id, until_end=True)
    kinds = [each.event.kind async for each in followed]  # ends, since the trace is marked
    assert kinds == ["node_start", "node_success"]


async def test_mark_that_failed_is_repeated_in_the_next_round(connection: Connection) -> None:
    class Ends:
        def __init__(self) -> None:
            self.asked: list[str] = []

        async def mark_trace_ended(self, trace_id: str, *, tenant: str | None = None) -> None:
            self.asked.append(trace_id)
            if len(self.asked) == 1:
                raise ConnectionError("away")

    ends, flow = Ends(), doubling(None, "repeated")
    async with (
        runtime.worker(flow, connection, retention=None) as worker,
        runtime.client(flow, connection) as client,
    ):
        sent = message(1)
        await client.round_trip(sent, timeout=20)
        assert isinstance(worker.log, JetStreamLog)
        keeper = Keeper(worker.log, clock=SYSTEM_CLOCK, retention=900, ends=ends)
        for _ in range(3):
            await keeper.round()
    assert ends.asked == [sent.trace_id] * 2


async def test_worker_sweeps_the_store_of_its_flow(connection: Connection) -> None:
    retention = StateRetention(idle=timedelta(seconds=0.3))
    store = NatsStateStore(connection, tenant="default", retention=retention)
    flow = doubling(store, "swept")
    async with (
        runtime.worker(flow, connection, sweep=0.2),
        runtime.client(flow, connection) as client,
    ):
        sent = message(1)
        await client.round_trip(sent, timeout=20)

        async with asyncio.timeout(30):
            while await store.trace_removal(sent.trace_id) is None:
                await asyncio.sleep(0.05)


async def test_sweep_that_fails_is_told_and_done_again(caplog: pytest.LogCaptureFixture) -> None:
    class Store:
        def __init__(self) -> None:
            self.calls = 0
            self.swept = asyncio.Event()

        async def sweep(self) -> None:
            self.calls += 1
            if self.calls == 1:
                raise ConnectionError("away")
            self.swept.set()

    store = Store()
    sweeper = Sweeper(store, clock=SYSTEM_CLOCK, interval=0.01)
    sweeper.start()
    async with asyncio.timeout(30):
        await store.swept.wait()
    await sweeper.stop()
    assert [record.message for record in caplog.records] == ["state_store_sweep_failed"]
