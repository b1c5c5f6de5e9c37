"""Failures of a node: timeouts, retries, back-off, the final error, deadlines."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from penguiflow import FinalAnswer, FlowError, FlowErrorCode, NodePolicy, create
from penguiflow.retry import backoff
from tests.support.flows import Events, chain, forgotten, message, node, passing, settle
from tests.unit.runtime.conftest import Run


class Failing:
    """A node function that raises a number of times."""

    def __init__(self, times: int, error: BaseException | None = None) -> None:
        self.times = times
        self.error = error if error is not None else ValueError("broken")
        self.calls = 0

    async def __call__(self, msg: Any, ctx: Any) -> Any:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return msg


async def hang(msg: Any, ctx: Any) -> Any:
    await asyncio.Event().wait()


def test_back_off_grows_up_to_its_maximum() -> None:
    policy = NodePolicy(max_retries=9, backoff_base=0.5, backoff_mult=2.0, max_backoff=3.0)
    assert [backoff(policy, retry) for retry in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_huge_back_off_does_not_overflow() -> None:
    assert backoff(NodePolicy(backoff_mult=1e9), 5000) > 0
    assert backoff(NodePolicy(backoff_mult=1e9, max_backoff=2.0), 5000) == 2.0


def test_jitter_shortens_the_back_off() -> None:
    assert backoff(NodePolicy(backoff_base=2.0, jitter=0.5), 1, random_share=1.0) == 1.0


async def test_retries_until_it_works(run: Run) -> None:
    events, failing = Events(), Failing(2)
    policy = {"max_retries": 3, "backoff_base": 0.001, "backoff_mult": 3.0}
    flow = run(create(node(failing, "n", **policy).to(), middlewares=[events]))
    await flow.emit(message("x", trace_id="t"))
    assert (await flow.fetch()).payload == "x"
    assert [(event.event_type, event.attempt) for event in events.all] == [
        ("node_start", 0),
        ("node_error", 0),
        ("node_retry", 1),
        ("node_start", 1),
        ("node_error", 1),
        ("node_retry", 2),
        ("node_start", 2),
        ("node_success", 2),
    ]
    assert [e.extra["sleep_s"] for e in events.of("node_retry")] == [0.001, 0.003]
    assert forgotten(flow)


async def test_used_up_attempts_are_a_flow_error(run: Run) -> None:
    events, failing = Events(), Failing(9)
    bad = node(failing, "bad", max_retries=1, backoff_base=0)
    flow = run(create(bad.to(), middlewares=[events], emit_errors_to_rookery=True))
    await flow.emit(message(trace_id="t"))
    error = await flow.fetch()
    assert isinstance(error, FlowError)
    assert error.code == "NODE_EXCEPTION" == FlowErrorCode.NODE_EXCEPTION
    assert error.message == "Node 'bad' raised ValueError: broken"
    assert (error.trace_id, error.node_name, error.node_id) == ("t", "bad", bad.node_id)
    assert error.unwrap() is error.original_exc is failing.error
    assert error.exception_type == "ValueError"
    assert set(error.metadata) == {"attempt", "latency_ms", "exception_repr"}
    assert error.metadata["attempt"] == 1
    assert error.metadata["exception_repr"] == "ValueError('broken')"
    failed = events.one("node_failed")
    assert failed.error_payload == error.to_payload()
    assert failed.attempt == 1
    assert events.names == [
        "node_start",
        "node_error",
        "node_retry",
        "node_start",
        "node_error",
        "node_failed",
    ]


async def test_error_is_no_result_by_default(run: Run) -> None:
    events = Events()
    flow = run(create(node(Failing(1)).to(), middlewares=[events]))
    await flow.emit(message(1))
    await flow.emit(message(2))
    assert (await flow.fetch()).payload == 2
    assert events.names.count("node_failed") == 1
    assert forgotten(flow)


@pytest.mark.parametrize("value", [message("traced", trace_id="t"), "untraced"])
async def test_flow_error_of_an_untraced_message_is_delivered_too(run: Run, value: Any) -> None:
    flow = run(chain(node(Failing(1), "a"), passing("b"), emit_errors_to_rookery=True))
    await flow.emit(value)
    error = await flow.fetch()
    assert error.trace_id == getattr(value, "trace_id", None)


async def test_error_of_a_round_trip_is_its_result(run: Run) -> None:
    flow = run(create(node(Failing(1)).to(), emit_errors_to_rookery=True))
    await flow.emit(message(), trace_id="t")
    assert (await flow.fetch(trace_id="t")).code == "NODE_EXCEPTION"
    assert forgotten(flow)


async def test_timeout_cancels_and_awaits_the_node(run: Run) -> None:
    events = Events()
    unwound: list[str] = []

    async def slow(msg: Any, ctx: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            unwound.append("yes")

    slow_node = node(slow, "slow", timeout_s=0.01)
    flow = run(create(slow_node.to(), middlewares=[events], emit_errors_to_rookery=True))
    await flow.emit(message())
    error = await flow.fetch()
    assert unwound == ["yes"]
    assert error.code == "NODE_TIMEOUT"
    assert error.message == "Node 'slow' timed out after 0.01s"
    assert set(error.metadata) == {"attempt", "latency_ms", "timeout_s"}
    assert error.metadata["timeout_s"] == 0.01
    assert events.names == ["node_start", "node_timeout", "node_failed"]


async def test_timeout_error_of_the_user_counts_as_a_timeout(run: Run) -> None:
    events = Events()
    flow = run(
        create(
            node(Failing(1, TimeoutError("upstream"))).to(),
            middlewares=[events],
            emit_errors_to_rookery=True,
        )
    )
    await flow.emit(message())
    error = await flow.fetch()
    assert (error.code, error.message) == ("NODE_TIMEOUT", "upstream")
    assert events.names == ["node_start", "node_timeout", "node_failed"]


async def test_retry_after_a_timeout(run: Run) -> None:
    calls: list[int] = []

    async def slow_once(msg: Any, ctx: Any) -> Any:
        calls.append(ctx.attempt)
        if not ctx.attempt:
            await asyncio.Event().wait()
        return msg

    flow = run(create(node(slow_once, timeout_s=0.005, max_retries=1, backoff_base=0).to()))
    await flow.emit("x")
    assert await flow.fetch() == "x"
    assert calls == [0, 1]


async def test_types_that_are_not_retried(run: Run) -> None:
    failing = Failing(9)
    flow = run(
        create(
            node(failing, max_retries=5, non_retryable=(ValueError,)).to(),
            emit_errors_to_rookery=True,
        )
    )
    await flow.emit(1)
    assert (await flow.fetch()).metadata["attempt"] == 0
    assert failing.calls == 1


async def test_retrying_trace_does_not_block_the_node_and_keeps_its_order(run: Run) -> None:
    seen: list[Any] = []

    async def fail_once(msg: Any, ctx: Any) -> Any:
        seen.append((msg.trace_id, msg.payload))
        if msg.payload == "fails" and not ctx.attempt:
            raise ValueError
        return msg

    flow = run(create(node(fail_once, max_retries=1, backoff_base=0.02).to()))
    await flow.emit(message("fails", trace_id="t"))
    await flow.emit(message("after", trace_id="t"))
    await flow.emit(message("other", trace_id="u"))
    for _ in range(3):
        await flow.fetch()
    assert seen == [("t", "fails"), ("u", "other"), ("t", "fails"), ("t", "after")]


async def test_concurrency_keeps_the_order_of_a_trace(run: Run) -> None:
    seen: list[Any] = []
    running, most = 0, 0

    async def work(msg: Any, ctx: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        seen.append((msg.trace_id, msg.payload))
        return msg

    flow = run(create(node(work, concurrency=3).to()))
    for i in range(20):
        await flow.emit(message(i, trace_id=f"t{i % 4}"))
    for _ in range(20):
        await flow.fetch()
    assert most == 3
    for trace in range(4):
        assert [i for t, i in seen if t == f"t{trace}"] == list(range(trace, 20, 4))


async def test_untraced_values_run_at_once_where_concurrency_is_asked_for(run: Run) -> None:
    together: list[int] = []
    running = 0

    async def work(msg: Any, ctx: Any) -> Any:
        nonlocal running
        running += 1
        together.append(running)
        await settle(3)
        running -= 1
        return msg

    flow = run(create(node(work, concurrency=3).to(), queue_maxsize=2))
    fetching = asyncio.gather(*[flow.fetch() for _ in range(9)])
    for i in range(9):
        await flow.emit(i)
    assert sorted(await fetching) == list(range(9))
    assert max(together) == 3
    # Unread results hold the node, with no more tasks than one parked for each active one.
    emits = [asyncio.create_task(flow.emit(i)) for i in range(20)]
    await settle(100)
    assert not all(emit.done() for emit in emits)
    assert len(flow._host.node_loops[flow.graph.nodes[0]]._tasks) <= 6
    for _ in emits:
        await flow.fetch()
    await asyncio.gather(*emits)


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_order_of_untraced_values_around_a_back_off(run: Run, concurrency: int) -> None:
    seen: list[Any] = []

    async def fail_once(msg: Any, ctx: Any) -> Any:
        seen.append(msg)
        if msg == "fails" and not ctx.attempt:
            raise ValueError
        return msg

    policy = {"max_retries": 1, "backoff_base": 0.02, "concurrency": concurrency}
    flow = run(create(node(fail_once, **policy).to()))
    await flow.emit("fails")
    await flow.emit("after")
    await asyncio.gather(flow.fetch(), flow.fetch())
    in_order, overtaken = ["fails", "fails", "after"], ["fails", "after", "fails"]
    assert seen == (in_order if concurrency == 1 else overtaken)


async def test_failing_delivery_does_not_run_the_node_again(run: Run) -> None:
    events = Events()
    calls: list[int] = []

    class NoCopy:
        def __deepcopy__(self, memo: Any) -> Any:
            raise ValueError

    async def stream_out(msg: Any, ctx: Any) -> Any:
        calls.append(1)
        return msg

    looping = node(stream_out, "n", max_retries=3, backoff_base=0)
    looping.allow_cycle = True
    flow = run(create(looping.to(looping), middlewares=[events], emit_errors_to_rookery=True))
    from penguiflow import WM

    memory = WM(query="q", budget_hops=None, facts=[NoCopy()])
    await flow.emit(message(memory))
    error = await flow.fetch()
    assert error.code == "NODE_EXCEPTION"
    assert calls == [1]
    assert not events.of("node_retry", "node_success")


# ---- deadlines -----------------------------------------------------------------------------------


async def test_message_after_its_deadline_is_not_run(run: Run) -> None:
    events, failing = Events(), Failing(0)
    flow = run(chain(node(failing, "a"), passing("b"), middlewares=[events]))
    late = message("x", deadline_s=time.time() - 1, meta={"k": 1}, trace_id="t")
    await flow.emit(late)
    result = await flow.fetch()
    assert result.payload == FinalAnswer(text="Deadline exceeded")
    assert (result.trace_id, result.meta, result.headers) == ("t", {"k": 1}, late.headers)
    assert failing.calls == 0
    skip = events.one("deadline_skip")
    assert (skip.node_name, skip.attempt, skip.latency_ms) == ("a", 0, None)
    assert skip.extra == {"deadline_s": late.deadline_s}
    assert events.names == ["deadline_skip"]
    assert forgotten(flow)


async def test_late_final_answer_stays_the_answer(run: Run) -> None:
    flow = run(create(passing("a").to()))
    await flow.emit(message(FinalAnswer(text="own"), deadline_s=time.time() - 1))
    assert (await flow.fetch()).payload.text == "own"


async def test_deadline_is_not_only_checked_when_a_node_starts(run: Run) -> None:
    cancelled: list[bool] = []

    async def slow(msg: Any, ctx: Any) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    flow = run(create(node(slow, timeout_s=60, max_retries=3).to()))
    await flow.emit(message(deadline_s=time.time() + 0.02))
    assert (await flow.fetch()).payload == FinalAnswer(text="Deadline exceeded")
    assert cancelled == [True]


async def test_late_result_becomes_the_deadline_answer(run: Run) -> None:
    async def busy(msg: Any, ctx: Any) -> Any:
        time.sleep(0.02)
        return msg if msg.payload == "message" else "plain"

    flow = run(create(node(busy).to()))
    for payload in ("message", "plain"):
        await flow.emit(message(payload, deadline_s=time.time() + 0.01))
        assert (await flow.fetch()).payload == FinalAnswer(text="Deadline exceeded")


async def test_message_in_time_is_untouched(run: Run) -> None:
    flow = run(chain(passing("a", timeout_s=5), passing("b")))
    await flow.emit(message("x", deadline_s=time.time() + 60))
    assert (await flow.fetch()).payload == "x"


# ---- what a node sets in its context -------------------------------------------------------------


async def test_context_variables_of_a_node_do_not_leak_into_the_next_run(run: Run) -> None:
    from contextvars import ContextVar

    user: ContextVar[str | None] = ContextVar("user", default=None)

    async def who(msg: Any, ctx: Any) -> Any:
        before = user.get()
        user.set(msg)
        await asyncio.sleep(0)
        return before, user.get(), await asyncio.create_task(current())

    async def current() -> str | None:
        return user.get()

    flow = run(create(node(who).to()))
    for name in ("a", "b"):
        await flow.emit(name)
        assert await flow.fetch() == (None, name, name)
    await settle()
