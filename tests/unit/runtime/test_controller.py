"""The controller rules for what a node returns: working memories, budgets, final answers."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from penguiflow import WM, FinalAnswer, Node, NodePolicy, PenguiFlow, create
from penguiflow.core import (
    BUDGET_EXCEEDED_TEXT,
    DEADLINE_EXCEEDED_TEXT,
    TOKEN_BUDGET_EXCEEDED_TEXT,
)
from tests.support.flows import Events, chain, forgotten, message, node, passing, settle
from tests.unit.runtime.conftest import Run


def loop(func: Any, **options: Any) -> PenguiFlow:
    looping = Node(func, name="loop", policy=NodePolicy(validate="none"), allow_cycle=True)
    return create(looping.to(looping), **options)


def test_texts() -> None:
    assert DEADLINE_EXCEEDED_TEXT == "Deadline exceeded"
    assert TOKEN_BUDGET_EXCEEDED_TEXT == "Token budget exhausted"
    assert BUDGET_EXCEEDED_TEXT == "Hop budget exhausted"


async def test_final_answer_goes_straight_to_the_egress_from_any_node(run: Run) -> None:
    seen: list[Any] = []

    async def answer(msg: Any, ctx: Any) -> Any:
        return msg.model_copy(update={"payload": FinalAnswer(text="done")})

    async def never(msg: Any, ctx: Any) -> Any:
        seen.append(msg)
        return msg

    flow = run(chain(node(answer, "a"), node(never, "b"), node(never, "c")))
    await flow.emit(message(meta={"kept": 1}), trace_id="t")
    result = await flow.fetch(trace_id="t")
    assert (result.payload.text, result.trace_id, result.meta) == ("done", "t", {"kept": 1})
    await settle()
    assert seen == []
    assert forgotten(flow)


async def test_bare_final_answer_travels_on(run: Run) -> None:
    async def answer(msg: Any, ctx: Any) -> Any:
        return FinalAnswer(text="bare")

    async def extend(msg: Any, ctx: Any) -> Any:
        return FinalAnswer(text=f"{msg.text} and on")

    flow = run(chain(node(answer, "a"), node(extend, "b")))
    await flow.emit(message())
    assert (await flow.fetch()).text == "bare and on"


@pytest.mark.parametrize("how", ["final answer", "hops", "tokens", "deadline"])
async def test_node_whose_result_goes_straight_out_does_not_run_for_ever(
    run: Run, how: str
) -> None:
    events = Events()
    calls: list[int] = []
    memory = {
        "final answer": FinalAnswer(text="x"),
        "hops": WM(query="q", budget_hops=1),
        "tokens": WM(query="q", budget_tokens=5, tokens_used=5),
        "deadline": WM(query="q"),
    }[how]

    async def once(msg: Any, ctx: Any) -> Any:
        calls.append(1)
        deadline_s = time.time() - 1 if how == "deadline" else None
        return msg.model_copy(update={"payload": memory, "deadline_s": deadline_s})

    flow = run(loop(once, middlewares=[events]))
    await flow.emit(message(WM(query="q")), trace_id="t")
    result = await flow.fetch(trace_id="t")
    await settle()
    assert isinstance(result.payload, FinalAnswer)
    assert calls == [1]
    assert events.names == ["node_start", "node_success"]
    assert forgotten(flow)


async def test_hops_count_up_to_the_budget(run: Run) -> None:
    hops: list[int] = []

    async def think(msg: Any, ctx: Any) -> Any:
        hops.append(msg.payload.hops)
        return msg

    flow = run(loop(think))
    await flow.emit(message(WM(query="q", budget_hops=3)), trace_id="t")
    result = await flow.fetch(trace_id="t")
    assert result.payload == FinalAnswer(text="Hop budget exhausted")
    assert hops == [0, 1, 2]
    assert forgotten(flow)


async def test_hops_that_the_node_advanced_are_not_advanced_again(run: Run) -> None:
    hops: list[int] = []

    async def leap(msg: Any, ctx: Any) -> Any:
        hops.append(msg.payload.hops)
        msg.payload.hops += 3  # in place
        return msg

    flow = run(loop(leap))
    await flow.emit(message(WM(query="q", budget_hops=8)), trace_id="t")
    await flow.fetch(trace_id="t")
    assert hops == [0, 3, 6]


async def test_token_budget_is_checked_before_hops(run: Run) -> None:
    async def spend(msg: Any, ctx: Any) -> Any:
        msg.payload.tokens_used += 10
        return msg

    flow = run(loop(spend))
    memory = WM(query="q", budget_hops=2, budget_tokens=20)
    await flow.emit(message(memory), trace_id="t")
    assert (await flow.fetch(trace_id="t")).payload.text == "Token budget exhausted"


async def test_deadline_is_checked_first(run: Run) -> None:
    async def late(msg: Any, ctx: Any) -> Any:
        msg.payload.tokens_used = 99
        return msg.model_copy(update={"deadline_s": time.time() - 1})

    flow = run(loop(late))
    await flow.emit(message(WM(query="q", budget_tokens=1, budget_hops=1)))
    assert (await flow.fetch()).payload.text == "Deadline exceeded"


async def test_loop_ends_with_a_final_answer(run: Run) -> None:
    async def think(msg: Any, ctx: Any) -> Any:
        if msg.payload.hops < 2:
            msg.payload.facts.append(msg.payload.hops)
            return msg
        return msg.model_copy(update={"payload": FinalAnswer(text=str(msg.payload.facts))})

    flow = run(loop(think))
    await flow.emit(message(WM(query="q")), trace_id="t")
    assert (await flow.fetch(trace_id="t")).payload.text == "[0, 1]"


async def test_without_budgets_each_hop_is_streamed_as_a_copy(run: Run) -> None:
    async def think(msg: Any, ctx: Any) -> Any:
        if msg.payload.hops == 3:
            return msg.model_copy(update={"payload": FinalAnswer(text="end")})
        msg.payload.facts.append(msg.payload.hops)
        await asyncio.sleep(0)
        return msg

    flow = run(loop(think))
    await flow.emit(message(WM(query="q", budget_hops=None), trace_id="t"))
    seen = [await flow.fetch() for _ in range(4)]
    assert [each.payload.hops for each in seen[:3]] == [1, 2, 3]
    assert [each.payload.facts for each in seen[:3]] == [[0], [0, 1], [0, 1, 2]]
    assert seen[3].payload.text == "end"
    assert forgotten(flow)


async def test_emit_of_the_hops_streamed_last_does_nothing(run: Run) -> None:
    calls: list[int] = []
    proceed = asyncio.Event()

    async def think(msg: Any, ctx: Any) -> Any:
        calls.append(msg.payload.hops)
        if msg.payload.hops:
            await proceed.wait()
            return msg.model_copy(update={"payload": FinalAnswer(text="end")})
        return msg

    flow = run(loop(think))
    await flow.emit(message(WM(query="q", budget_hops=None), trace_id="t"))
    streamed = await flow.fetch()
    await flow.emit(streamed)
    flow.emit_nowait(streamed)
    await flow.emit(streamed, trace_id="t")
    await flow.emit(streamed, trace_id="t")  # the one before freed its lock
    proceed.set()
    assert (await flow.fetch()).payload.text == "end"
    await settle()
    assert calls == [0, 1]
    assert forgotten(flow)


async def test_memory_without_a_loop_goes_to_the_successors(run: Run) -> None:
    flow = run(chain(passing("a"), passing("b")))
    await flow.emit(message(WM(query="q")))
    assert (await flow.fetch()).payload == WM(query="q")


async def test_bare_memory_is_an_ordinary_value(run: Run) -> None:
    flow = run(chain(passing("a"), passing("b")))
    await flow.emit(WM(query="q", budget_hops=1))
    assert (await flow.fetch()).hops == 0
