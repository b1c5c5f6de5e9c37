"""Scoped emit and fetch: the round trip of a trace."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow import Message, create
from penguiflow.core import TraceCancelled
from tests.support.flows import chain, forgotten, message, node, passing, settle
from tests.unit.runtime.conftest import Run


async def three(msg: Any, ctx: Any) -> Any:
    await ctx.emit(f"{msg.payload}1")
    await ctx.emit(f"{msg.payload}2")
    return f"{msg.payload}3"


async def test_scoped_emit_needs_a_running_flow() -> None:
    flow = create(passing("n").to())
    with pytest.raises(RuntimeError, match=r"^PenguiFlow is not running$"):
        await flow.emit(message(), trace_id="t")


async def test_message_is_copied_and_stamped(run: Run) -> None:
    flow = run(create(passing("n").to()))
    sent = message("x")
    own = sent.trace_id
    await flow.emit(sent, trace_id="t")
    result = await flow.fetch(trace_id="t")
    assert (result.trace_id, sent.trace_id) == ("t", own)
    assert result is not sent


async def test_other_objects_are_stamped_themselves(run: Run) -> None:
    class Job:
        trace_id: str | None = None

    flow = run(create(passing("n").to()))
    await flow.emit(job := Job(), trace_id="t")
    assert job.trace_id == "t"
    assert await flow.fetch(trace_id="t") is job


@pytest.mark.parametrize("value", [1, "text", None, {"k": 1}, (1,)])
async def test_what_cannot_be_stamped_is_a_type_error_and_locks_nothing(
    run: Run, value: Any
) -> None:
    flow = run(create(passing("n").to()))
    with pytest.raises(TypeError):
        await flow.emit(value, trace_id="t")
    assert forgotten(flow)


async def test_unknown_target_locks_nothing(run: Run) -> None:
    flow = run(create(passing("n").to()))
    with pytest.raises(KeyError):
        await flow.emit(message(), to="nobody", trace_id="t")
    assert forgotten(flow)


async def test_each_trace_gets_its_own_result(run: Run) -> None:
    async def slow_first(msg: Message, ctx: Any) -> Any:
        if msg.payload == 0:
            await asyncio.sleep(0.01)
        return msg

    flow = run(chain(passing("a"), node(slow_first, "b", concurrency=8)))

    async def trip(i: int) -> None:
        await flow.emit(message(i), trace_id=f"t{i}")
        assert (await flow.fetch(trace_id=f"t{i}")).payload == i

    await asyncio.gather(*[trip(i) for i in range(50)])
    assert forgotten(flow)


async def test_second_emit_of_a_trace_waits_for_the_fetch_of_the_first(run: Run) -> None:
    flow = run(create(passing("n").to()))
    await flow.emit(message(1), trace_id="t")
    second = asyncio.create_task(flow.emit(message(2), trace_id="t"))
    await settle()
    assert not second.done()
    assert (await flow.fetch(trace_id="t")).payload == 1
    await second
    assert (await flow.fetch(trace_id="t")).payload == 2
    assert forgotten(flow)


async def test_fetch_of_a_trace_needs_no_scoped_emit(run: Run) -> None:
    flow = run(create(passing("n").to()))
    waiting = asyncio.create_task(flow.fetch(trace_id="t"))
    await settle()
    await flow.emit(message("other"))
    await flow.emit(message("mine", trace_id="t"))
    assert (await waiting).payload == "mine"
    await flow.emit(message("later", trace_id="t"))
    await settle()
    assert (await flow.fetch(trace_id="t")).payload == "later"
    assert (await flow.fetch()).payload == "other"


async def test_plain_fetch_does_not_take_the_result_of_a_round_trip(run: Run) -> None:
    flow = run(create(passing("n").to()))
    anybody = asyncio.create_task(flow.fetch())
    await settle()
    await flow.emit(message("mine"), trace_id="t")
    await settle()
    assert not anybody.done()
    assert (await flow.fetch(trace_id="t")).payload == "mine"
    await flow.emit("for anybody")
    assert await anybody == "for anybody"


async def test_further_results_go_to_a_plain_fetch(run: Run) -> None:
    flow = run(create(node(three).to()))
    await flow.emit(message("a"), trace_id="t")
    assert await flow.fetch(trace_id="t") == "a1"
    assert [await flow.fetch(), await flow.fetch()] == ["a2", "a3"]
    assert forgotten(flow)


async def test_further_results_reach_a_plain_fetch_that_waits(run: Run) -> None:
    flow = run(create(node(three).to()))
    anybody = asyncio.create_task(flow.fetch())
    await settle()
    await flow.emit(message("a"), trace_id="t")
    assert await flow.fetch(trace_id="t") == "a1"
    assert await anybody == "a2"


async def test_not_only_the_first_result_of_a_trace_is_fetchable_by_its_id(run: Run) -> None:
    flow = run(create(node(three).to()))
    await flow.emit(message("a"), trace_id="t")
    assert [await flow.fetch(trace_id="t") for _ in range(3)] == ["a1", "a2", "a3"]
    assert forgotten(flow)


async def test_left_over_results_do_not_answer_the_next_round_trip(run: Run) -> None:
    flow = run(create(node(three).to()))
    await flow.emit(message("a"), trace_id="t")
    assert await flow.fetch(trace_id="t") == "a1"
    await settle()
    await flow.emit(message("b"), trace_id="t")
    assert await flow.fetch(trace_id="t") == "b1"
    assert await flow.fetch() == "a2"
    assert [await flow.fetch(trace_id="t") for _ in range(2)] == ["b2", "b3"]
    assert await flow.fetch(trace_id="t") == "a3"
    assert forgotten(flow)


async def test_subscription_keeps_every_result_for_its_trace(run: Run) -> None:
    flow = run(create(node(three).to()))
    anybody = asyncio.create_task(flow.fetch())
    await settle()
    with flow.subscribe("t"):
        await flow.emit(message("a", trace_id="t"))
        await settle()
        assert [await flow.fetch(trace_id="t") for _ in range(2)] == ["a1", "a2"]
        assert not anybody.done()
    assert await anybody == "a3"
    assert forgotten(flow)


async def test_abandoned_round_trip_is_freed_by_its_cancelled_fetch(run: Run) -> None:
    async def drop_one(msg: Message, ctx: Any) -> Any:
        return None if msg.payload == 1 else msg

    flow = run(create(node(drop_one).to()))
    await flow.emit(message(1), trace_id="t")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flow.fetch(trace_id="t"), 0.005)
    assert forgotten(flow)
    await flow.emit(message(2), trace_id="t")
    assert (await flow.fetch(trace_id="t")).payload == 2


async def test_abandoned_round_trip_does_not_lock_its_id_after_the_trace_is_over(run: Run) -> None:
    async def drop(msg: Message, ctx: Any) -> None:
        return None

    flow = run(create(node(drop).to()))
    for _ in range(3):
        await flow.emit(message(), trace_id="t")
        await settle()
    assert forgotten(flow)


async def test_abandoned_round_trip_is_freed_by_a_cancel(run: Run) -> None:
    flow = run(create(passing("n").to()))
    await flow.emit(message(1), trace_id="t")
    second = asyncio.create_task(flow.emit(message(2), trace_id="t"))
    await settle()
    assert await flow.cancel("t")
    await second
    assert (await flow.fetch(trace_id="t")).payload == 2
    assert forgotten(flow)


async def test_cancelled_emit_that_waits_for_the_lock_leaves_it_usable(run: Run) -> None:
    flow = run(create(passing("n").to()))
    await flow.emit(message(1), trace_id="t")
    waiting = [asyncio.create_task(flow.emit(message(i), trace_id="t")) for i in (2, 3)]
    await settle()
    waiting[0].cancel()
    assert (await flow.fetch(trace_id="t")).payload == 1
    assert (await flow.fetch(trace_id="t")).payload == 3
    await asyncio.gather(*waiting, return_exceptions=True)
    assert forgotten(flow)


async def test_cancelled_fetch_by_id_does_not_lose_the_result(run: Run) -> None:
    flow = run(create(passing("n").to()))
    for turns in range(1, 8):
        await flow.emit(message("x"), trace_id="t")
        fetching = asyncio.create_task(flow.fetch(trace_id="t"))
        await settle(turns)
        fetching.cancel()
        (got,) = await asyncio.gather(fetching, return_exceptions=True)
        if isinstance(got, BaseException):
            got = await asyncio.wait_for(flow.fetch(), 1)
        assert got.payload == "x"
    assert forgotten(flow)


async def test_fetch_by_id_does_not_hang_after_a_cancel(run: Run) -> None:
    blocked = asyncio.Event()

    async def wait(msg: Any, ctx: Any) -> None:
        await blocked.wait()

    flow = run(create(node(wait).to()))
    await flow.emit(message(), trace_id="t")
    before = asyncio.create_task(flow.fetch(trace_id="t"))
    await settle()
    assert await flow.cancel("t")
    with pytest.raises(TraceCancelled) as raised:
        await before
    assert raised.value.trace_id == "t"
    with pytest.raises(TraceCancelled):
        await flow.fetch(trace_id="t")
    assert forgotten(flow)


async def test_id_is_usable_again_after_a_cancel(run: Run) -> None:
    flow = run(create(passing("n").to()))
    for emit_again in (
        lambda: flow.emit(message("new"), trace_id="t"),
        lambda: flow.emit(message("new", trace_id="t")),
    ):
        await flow.emit(message("old"), trace_id="t")
        await flow.cancel("t")
        await emit_again()
        assert (await flow.fetch(trace_id="t")).payload == "new"


async def test_results_of_many_finished_traces_leave_nothing_behind(run: Run) -> None:
    flow = run(chain(passing("a"), passing("b")))
    for i in range(300):
        await flow.emit(message(i), trace_id=f"t{i % 7}")
        await flow.fetch(trace_id=f"t{i % 7}")
    assert forgotten(flow)
    assert not flow._host.edges.inbox(flow.graph.nodes[0])._held
