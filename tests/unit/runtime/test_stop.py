"""Stopping and draining a flow, and running it again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow import create
from tests.support.flows import chain, forgotten, message, node, passing, settle
from tests.unit.runtime.conftest import Run


async def hang(msg: Any, ctx: Any) -> Any:
    await asyncio.Event().wait()


async def test_stop_is_idempotent(run: Run) -> None:
    flow = create(passing("n").to())
    await flow.stop()
    run(flow)
    await flow.stop()
    await flow.stop()


async def test_stop_cancels_and_awaits_what_runs(run: Run) -> None:
    unwound: list[bool] = []

    async def slow_end(msg: Any, ctx: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.001)
            unwound.append(True)

    flow = run(create(node(slow_end).to()))
    await flow.emit(1)
    await settle()
    await flow.stop()
    assert unwound == [True]


async def test_stop_cancels_and_awaits_external_tasks(run: Run) -> None:
    unwound: list[bool] = []

    async def external() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            unwound.append(True)

    flow = run(create(passing("n").to()))
    flow.register_external_task("t", task := asyncio.create_task(external()))
    await settle()
    await flow.stop()
    assert task.cancelled()
    assert unwound == [True]


async def test_stop_awaits_pending_publishes(run: Run) -> None:
    published: list[Any] = []

    class SlowBus:
        async def publish(self, envelope: Any) -> None:
            await asyncio.sleep(0.005)
            published.append(envelope.payload)

    flow = create(passing("n").to(), message_bus=SlowBus())
    flow.emit_nowait("x")
    await flow.stop()
    assert published == ["x"]


async def test_stop_does_not_lose_what_waits_or_runs(run: Run) -> None:
    calls: list[Any] = []

    async def first_time_hangs(msg: Any, ctx: Any) -> Any:
        calls.append(msg)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return msg

    flow = run(chain(node(first_time_hangs, "a"), passing("b")))
    for i in range(3):
        await flow.emit(i)
    await settle()
    assert await flow.stop() == 3
    await flow.emit(3)
    flow.run()
    assert [await flow.fetch() for _ in range(4)] == [0, 1, 2, 3]
    assert calls == [0, 0, 1, 2, 3]


async def test_stop_does_not_lose_results(run: Run) -> None:
    flow = run(create(passing("n").to()))
    await flow.emit("plain")
    await flow.emit(message("scoped"), trace_id="t")
    await settle()
    await flow.stop()
    assert (await flow.fetch(trace_id="t")).payload == "scoped"
    assert await flow.fetch() == "plain"
    assert forgotten(flow)


async def test_stop_does_not_leave_fetches_hanging(run: Run) -> None:
    flow = run(create(node(hang).to()))
    await flow.emit(message(), trace_id="t")
    fetches = [
        asyncio.create_task(flow.fetch(trace_id="t")),
        asyncio.create_task(flow.fetch(trace_id="u")),
        asyncio.create_task(flow.fetch()),
    ]
    await settle()
    await flow.stop()
    for fetch in fetches:
        with pytest.raises(RuntimeError, match="PenguiFlow is not running"):
            await fetch
    with pytest.raises(RuntimeError, match="PenguiFlow is not running"):
        await flow.fetch(trace_id="t")


async def test_stop_frees_the_locks_of_round_trips(run: Run) -> None:
    flow = run(create(passing("n").to()))
    await flow.emit(message(1), trace_id="t")
    await settle()
    await flow.stop()
    flow.run()
    await flow.emit(message(2), trace_id="t")
    assert (await flow.fetch(trace_id="t")).payload == 2
    assert (await flow.fetch()).payload == 1


async def test_stop_while_a_result_waits_for_room_does_not_run_the_node_again(run: Run) -> None:
    calls: list[Any] = []

    async def count(msg: Any, ctx: Any) -> Any:
        calls.append(msg)
        return msg

    flow = run(create(node(count).to(), queue_maxsize=1))
    for i in range(2):
        await flow.emit(i)
        await settle()
    assert calls == [0, 1]  # the second result waits for the first to be fetched
    await flow.stop()
    flow.run()
    assert [await flow.fetch(), await flow.fetch()] == [0, 1]
    await settle()
    assert calls == [0, 1]


async def test_back_off_is_over_after_a_stop(run: Run) -> None:
    attempts: list[int] = []

    async def fail_once(msg: Any, ctx: Any) -> Any:
        attempts.append(ctx.attempt)
        if not ctx.attempt:
            raise ValueError
        return msg

    flow = run(create(node(fail_once, max_retries=1, backoff_base=3600).to()))
    await flow.emit("x")
    await settle()
    assert await flow.stop() == 1
    flow.run()
    assert await flow.fetch() == "x"
    assert attempts == [0, 1]


async def test_draining_stop_finishes_what_was_accepted(run: Run) -> None:
    async def slow(msg: Any, ctx: Any) -> Any:
        await asyncio.sleep(0.001)
        return msg

    flow = run(chain(node(slow, "a"), node(slow, "b")))
    for i in range(10):
        await flow.emit(i)
    assert await flow.stop(drain=30) == 0
    assert [await flow.fetch() for _ in range(10)] == list(range(10))


async def test_draining_flow_refuses_input(run: Run) -> None:
    gate = asyncio.Event()

    async def wait(msg: Any, ctx: Any) -> Any:
        await gate.wait()
        return msg

    flow = run(create(node(wait).to()))
    await flow.emit("accepted")
    stopping = asyncio.create_task(flow.stop(drain=30))
    await settle()
    for refused in (flow.emit("x"), flow.emit(message(), trace_id="t")):
        with pytest.raises(RuntimeError, match="draining"):
            await refused
    with pytest.raises(RuntimeError, match="draining"):
        flow.emit_nowait("x")
    gate.set()
    assert await stopping == 0
    assert await flow.fetch() == "accepted"


async def test_draining_stop_has_a_limit_and_says_what_is_left(run: Run) -> None:
    flow = run(create(node(hang).to()))
    await flow.emit(1)
    await flow.emit(2)
    assert await flow.stop(drain=0.01) == 2


async def test_flow_is_not_started_before_its_stop_is_over(run: Run) -> None:
    release = asyncio.Event()

    async def slow_end(msg: Any, ctx: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            await release.wait()

    flow = run(create(node(slow_end).to()))
    await flow.emit(1)
    await settle()
    stopping = asyncio.create_task(flow.stop())
    await settle()
    with pytest.raises(RuntimeError, match="already running"):
        flow.run()
    release.set()
    await stopping
    flow.run()


async def test_flow_runs_again_and_again(run: Run) -> None:
    flow = create(passing("n").to())
    for i in range(5):
        run(flow) if i == 0 else flow.run()
        await flow.emit(message(i), trace_id="t")
        assert (await flow.fetch(trace_id="t")).payload == i
        await flow.stop()
    assert forgotten(flow)


def test_loop_that_ends_takes_the_workers_with_it() -> None:
    async def leave_running() -> None:
        flow = create(node(hang).to())
        flow.run()
        await flow.emit(1)
        await settle()

    asyncio.run(leave_running())
