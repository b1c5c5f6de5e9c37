"""Delays and timeouts of joins in a flow of one process, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow import Context, FlowError, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.patterns import join_k
from penguiflow.testing.clock import VirtualClock
from tests.contract.engine.flows import answer, message

PLAIN = NodePolicy(validate="none")


def plain(func: Any, name: str | None = None) -> Node:
    return Node(func, name=name, policy=PLAIN)


async def hand_on(msg: Message, ctx: Context) -> Message:
    return msg


class Fetched:
    """Collects a flow's results as they come."""

    def __init__(self, flow: PenguiFlow) -> None:
        self.results: list[Any] = []
        self._task = asyncio.create_task(self._run(flow))

    async def _run(self, flow: PenguiFlow) -> None:
        while True:
            self.results.append(await flow.fetch())

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_a_message_for_later_arrives_at_its_time() -> None:
    clock = VirtualClock()
    flow = create(plain(hand_on).to(), clock=clock)
    flow.run()
    fetched = Fetched(flow)
    await flow.emit(message("late"), delay_s=10)
    await flow.emit(message("now"))
    await clock.advance(9.9)
    assert [msg.payload for msg in fetched.results] == ["now"]
    await clock.advance(0.1)
    assert [msg.payload for msg in fetched.results] == ["now", "late"]
    await fetched.stop()
    assert await flow.stop() == 0


async def test_a_node_may_send_for_later() -> None:
    async def remind(msg: Message, ctx: Context) -> Message:
        await ctx.emit(answer(msg, "reminder"), delay_s=60)
        return answer(msg, "first")

    clock = VirtualClock()
    first, last = plain(remind), plain(hand_on)
    flow = create(first.to(last), last.to(), clock=clock)
    flow.run()
    fetched = Fetched(flow)
    await flow.emit(message(0))
    await clock.advance(59)
    assert [msg.payload for msg in fetched.results] == ["first"]
    await clock.advance(1)
    assert [msg.payload for msg in fetched.results] == ["first", "reminder"]
    await fetched.stop()
    await flow.stop()


async def test_a_scoped_round_trip_may_be_for_later() -> None:
    clock = VirtualClock()
    flow = create(plain(hand_on).to(), clock=clock)
    flow.run()
    await flow.emit(message("late"), trace_id="t", delay_s=5)
    fetch = asyncio.create_task(flow.fetch(trace_id="t"))
    await clock.advance(4)
    assert not fetch.done()
    await clock.advance(1)
    assert (await fetch).payload == "late"
    await flow.stop()


async def test_a_cancelled_trace_gets_nothing_later() -> None:
    clock = VirtualClock()
    flow = create(plain(hand_on).to(), clock=clock)
    flow.run()
    msg = message("late")
    await flow.emit(msg, delay_s=5)
    assert await flow.cancel(msg.trace_id)
    fetched = Fetched(flow)
    await clock.advance(10)
    assert fetched.results == []
    assert not await flow.cancel(msg.trace_id)
    await fetched.stop()
    assert await flow.stop() == 0


async def test_what_waits_when_the_flow_is_stopped_waits_on() -> None:
    clock = VirtualClock()
    flow = create(plain(hand_on).to(), clock=clock)
    flow.run()
    await flow.emit(message("late"), delay_s=5)
    assert await flow.stop() == 1
    await clock.advance(10)
    flow.run()
    fetched = Fetched(flow)
    await clock.advance(0)
    assert [msg.payload for msg in fetched.results] == ["late"]
    await fetched.stop()
    await flow.stop()


@pytest.mark.parametrize("delay", [-1.0, float("inf"), float("nan")])
async def test_a_delay_is_a_time_from_now_on(delay: float) -> None:
    flow = create(plain(hand_on).to())
    flow.run()
    with pytest.raises(ValueError, match="must be a number from 0 on"):
        await flow.emit(message(0), delay_s=delay)
    assert await flow.stop() == 0


def timed(clock: VirtualClock, k: int = 2) -> PenguiFlow:
    join = join_k("join", k, timeout_s=5)
    return create(join.to(), clock=clock, emit_errors_to_rookery=True)


async def test_a_join_whose_time_is_over_fails_and_drops_what_comes_late() -> None:
    clock, events = VirtualClock(), []

    async def watch(event: Any) -> None:
        events.append(event.event_type)

    flow = timed(clock)
    flow.add_middleware(watch)
    flow.run()
    fetched = Fetched(flow)
    await flow.emit(message("a", trace_id="t"))
    await clock.advance(5)
    (error,) = fetched.results
    assert isinstance(error, FlowError)
    assert (error.code, error.metadata) == ("JOIN_TIMEOUT", {"arrived": 1, "expected": 2})
    assert events.count("node_failed") == 1
    await fetched.stop()
    await flow.stop()


async def test_a_late_message_of_a_live_trace_is_no_new_group() -> None:
    gate = asyncio.Event()

    async def slow(msg: Message, ctx: Context) -> Message:
        if msg.payload == "b":
            await gate.wait()
        return msg

    clock = VirtualClock()
    first = Node(slow, policy=NodePolicy(validate="none", concurrency=2))
    join = join_k("join", 2, timeout_s=5)
    flow = create(first.to(join), join.to(), clock=clock, emit_errors_to_rookery=True)
    flow.run()
    fetched = Fetched(flow)
    await flow.emit(message("a", trace_id="t"))
    await flow.emit(message("b", trace_id="t"))
    await clock.advance(5)
    gate.set()
    await clock.advance(20)
    assert [type(result) for result in fetched.results] == [FlowError]
    await fetched.stop()
    await flow.stop()


async def test_a_join_that_is_complete_or_cancelled_does_not_time_out() -> None:
    clock = VirtualClock()
    flow = timed(clock)
    flow.run()
    fetched = Fetched(flow)
    for payload in ("a", "b"):
        await flow.emit(message(payload, trace_id="whole"))
    await flow.emit(message("a", trace_id="cancelled"))
    await clock.advance(1)
    await flow.cancel("cancelled")
    await clock.advance(10)
    assert [result.payload for result in fetched.results] == [["a", "b"]]
    await fetched.stop()
    await flow.stop()
