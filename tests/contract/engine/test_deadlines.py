"""Deadlines count by the log's clock, whatever the clocks of clients and workers say."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from penguiflow import Context, FinalAnswer, Message, Node, create
from penguiflow.clock import SYSTEM_CLOCK
from penguiflow.durable.client import DurableClient
from penguiflow.durable.ledger import TraceStatus
from penguiflow.patterns import join_k
from penguiflow.remote import RemoteCallRequest, RemoteCallResult, RemoteNode
from tests.contract.engine.flows import PLAIN, Gate, answer, message, single, split, total
from tests.contract.engine.houses import House

HOUR = 3600.0


class WrongClock:
    """A clock of a machine that is off by `ahead` seconds, which may change at any moment."""

    def __init__(self, ahead: float) -> None:
        self.ahead = ahead

    def now(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return SYSTEM_CLOCK.monotonic()

    async def sleep(self, seconds: float) -> None:
        await SYSTEM_CLOCK.sleep(seconds)


async def client_of(house: House, flow: Any, clock: WrongClock) -> DurableClient:
    client = DurableClient(flow, await house.log(flow), clock=clock)
    await client.start()
    return client


@pytest.mark.parametrize("ahead", [-HOUR, HOUR])
async def test_live_work_runs_on_a_worker_whose_clock_is_an_hour_off(
    house: House, ahead: float
) -> None:
    async def left(msg: Message, ctx: Context) -> Message:
        assert msg.deadline_s is not None
        return answer(msg, msg.deadline_s - ctx.now())

    flow = single(left)
    await house.worker(flow, clock=WrongClock(ahead))
    client = await house.client(flow)
    result = await client.round_trip(message(0, deadline_s=time.time() + 60), timeout=30)
    assert 0 < result.payload <= 60.1


@pytest.mark.parametrize("ahead", [-HOUR, HOUR])
async def test_expired_work_is_not_run_on_a_worker_whose_clock_is_an_hour_off(
    house: House, ahead: float
) -> None:
    runs, events = 0, []

    async def work(msg: Message, ctx: Context) -> Message:
        nonlocal runs
        runs += 1
        return msg

    async def watch(event: Any) -> None:
        events.append(event.event_type)

    flow = single(work)
    flow.add_middleware(watch)
    await house.worker(flow, clock=WrongClock(ahead))
    client = await house.client(flow)
    result = await client.round_trip(message(0, deadline_s=time.time() - 1), timeout=30)
    assert result.payload == FinalAnswer(text="Deadline exceeded")
    assert runs == 0
    assert set(events) == {"deadline_skip"}


@pytest.mark.parametrize("ahead", [-HOUR, HOUR])
async def test_a_client_whose_clock_is_an_hour_off_counts_in_its_own_time(
    house: House, ahead: float
) -> None:
    async def left(msg: Message, ctx: Context) -> Message:
        assert msg.deadline_s is not None
        return answer(msg, msg.deadline_s - ctx.now())

    flow, clock = single(left), WrongClock(ahead)
    await house.worker(flow)
    client = await client_of(house, flow, clock)
    deadline = clock.now() + 60
    result = await client.round_trip(message(0, deadline_s=deadline), timeout=30)
    assert 0 < result.payload <= 60.1
    assert result.deadline_s == pytest.approx(deadline, abs=1.0)
    late = await client.round_trip(message(0, deadline_s=clock.now() - 1), timeout=30)
    assert late.payload == FinalAnswer(text="Deadline exceeded")
    await client.stop()


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
async def test_a_clock_that_jumps_while_the_node_runs_does_not_expire_it(
    house: House, jump: float
) -> None:
    gate, clock = Gate(), WrongClock(0.0)
    flow = single(gate.node)
    await house.worker(flow, clock=clock)
    client = await house.client(flow)
    msg = message(0, deadline_s=time.time() + 60)
    await client.emit(msg)
    await asyncio.wait_for(gate.started.wait(), 30)
    clock.ahead = jump
    gate.open.set()
    result = await client.fetch(trace_id=msg.trace_id, timeout=30)
    assert result.payload == "done"


@pytest.mark.parametrize("jump", [-HOUR, 0.0, HOUR])
async def test_a_running_node_is_bounded_by_what_remains(house: House, jump: float) -> None:
    gate, clock = Gate(), WrongClock(0.0)
    flow = single(gate.node, max_retries=3)
    await house.worker(flow, clock=clock)
    client = await house.client(flow)
    msg = message(0, deadline_s=time.time() + 2.0)
    await client.emit(msg)
    fetching = asyncio.ensure_future(client.fetch(trace_id=msg.trace_id, timeout=60))
    started = asyncio.ensure_future(gate.started.wait())
    await asyncio.wait([fetching, started], return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    clock.ahead = jump
    result = await fetching
    assert result.payload == FinalAnswer(text="Deadline exceeded")
    assert gate.runs == gate.cancelled
    if house.calm:  # else its time may be over before a delivery arrives
        assert gate.runs >= 1


async def test_a_remote_call_is_given_what_remains(house: House) -> None:
    asked: list[RemoteCallRequest] = []

    class Transport:
        async def send(self, request: RemoteCallRequest) -> RemoteCallResult:
            asked.append(request)
            return RemoteCallResult(result="done")

        def stream(self, request: RemoteCallRequest) -> Any:
            raise NotImplementedError

        async def cancel(self, *, agent_url: str, task_id: str) -> None:
            raise NotImplementedError

    remote = RemoteNode(
        transport=Transport(), skill="s", agent_url="nats://agent", name="remote", policy=PLAIN
    )
    flow = create(remote.to(), name="remote")
    await house.worker(flow, clock=WrongClock(HOUR))
    client = await house.client(flow)
    await client.round_trip(message(0, deadline_s=time.time() + 60), timeout=30)
    assert asked  # more than once where the line is bad
    for request in asked:
        assert request.timeout_s is not None
        assert 0 < request.timeout_s <= 60.1


async def test_a_join_whose_other_branch_expired_ends_with_a_reason(house: House) -> None:
    async def stamp(msg: Message, ctx: Context) -> Message:
        if msg.payload == 0:
            return msg
        return msg.model_copy(update={"deadline_s": ctx.now() - 1})

    first, middle = Node(split, policy=PLAIN), Node(stamp, policy=PLAIN)
    join, last = join_k("join", 2), Node(total, policy=PLAIN)
    flow = create(first.to(middle), middle.to(join), join.to(last), name="expired")
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(2)
    await client.emit(msg)
    result = await client.fetch(trace_id=msg.trace_id, timeout=30)
    assert result.payload == FinalAnswer(text="Deadline exceeded")
    async with asyncio.timeout(30):
        while not (await client.status(msg.trace_id)).is_terminal:
            await asyncio.sleep(0.02)
    assert await client.status(msg.trace_id) is TraceStatus.FAILED
