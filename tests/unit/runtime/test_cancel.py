"""Cancelling a trace: what ends, in which order, and that nothing stays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow import create
from penguiflow.core import TraceCancelled
from tests.support.flows import Events, chain, forgotten, message, node, passing, settle
from tests.unit.runtime.conftest import Run


class Gate:
    """A node function that waits until the test opens the gate, and says how it ended."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.cancelled = 0

    async def __call__(self, msg: Any, ctx: Any) -> Any:
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return msg


def test_trace_cancelled_names_its_trace() -> None:
    error = TraceCancelled("t")
    assert isinstance(error, Exception)
    assert error.trace_id == "t"


async def test_cancel_needs_a_running_flow() -> None:
    with pytest.raises(RuntimeError, match="PenguiFlow is not running"):
        await create(passing("n").to()).cancel("t")


async def test_unknown_and_finished_traces_are_not_cancelled(run: Run) -> None:
    events = Events()
    flow = run(create(passing("n").to(), middlewares=[events]))
    assert await flow.cancel("never seen") is False
    await flow.emit(message(), trace_id="t")
    await flow.fetch(trace_id="t")
    assert await flow.cancel("t") is False
    assert not events.of("trace_cancel_start", "trace_cancel_finish")


async def test_events_of_a_cancelled_run(run: Run) -> None:
    events, gate = Events(), Gate()
    flow = run(create(node(gate, "n").to(), middlewares=[events]))
    await flow.emit(message(trace_id="t"))
    await gate.entered.wait()
    await flow.emit(message(trace_id="t"))
    noticed = flow.ensure_trace_event("t")
    assert await flow.cancel("t") is True
    assert noticed.is_set()
    await settle()
    assert gate.cancelled == 1
    assert events.names == [
        "node_start",
        "trace_cancel_start",
        "node_trace_cancelled",
        "trace_cancel_finish",
    ]
    start, node_cancelled, finish = events.all[1:]
    assert (start.node_name, start.node_id, start.extra) == ("OpenSea", "OpenSea", {"pending": 2})
    assert (start.trace_pending, start.trace_inflight, start.trace_cancelled) == (2, 1, True)
    assert (node_cancelled.node_name, node_cancelled.trace_cancelled) == ("n", True)
    assert (finish.node_name, finish.node_id) == ("Rookery", "Rookery")
    assert (finish.trace_pending, finish.trace_inflight, finish.trace_cancelled) == (0, 0, False)
    for event in events.all[1:]:
        assert (event.trace_id, event.attempt, event.latency_ms) == ("t", 0, None)
    assert forgotten(flow)


async def test_cancel_does_not_wait_and_may_be_repeated(run: Run) -> None:
    events = Events()
    done = asyncio.Event()

    async def stubborn(msg: Any, ctx: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await done.wait()

    flow = run(create(node(stubborn).to(), middlewares=[events]))
    await flow.emit(message(trace_id="t"))
    await settle()
    assert [await flow.cancel("t") for _ in range(3)] == [True] * 3
    await settle()
    assert not events.of("trace_cancel_finish")
    done.set()
    await settle()
    assert events.names.count("trace_cancel_start") == 1
    assert events.names.count("trace_cancel_finish") == 1
    assert await flow.cancel("t") is False


@pytest.mark.parametrize("where", ["queued", "unread", "unread of a round trip"])
async def test_one_start_and_one_finish_whatever_is_left(run: Run, where: str) -> None:
    events, gate = Events(), Gate()
    flow = run(create(node(gate, "n").to(), middlewares=[events]))
    if where == "queued":
        await flow.emit(message("other"))
        await gate.entered.wait()
        await flow.emit(message(trace_id="t"))
    else:
        gate.open.set()
        sent = message(trace_id="t")
        await flow.emit(sent, trace_id="t" if "round trip" in where else None)
        await settle()
    assert await flow.cancel("t") is True
    cancelling = [name for name in events.names if name.startswith("trace_cancel")]
    assert cancelling == ["trace_cancel_start", "trace_cancel_finish"]
    assert events.one("trace_cancel_start").extra["pending"] == 1
    gate.open.set()
    if where == "queued":
        assert (await flow.fetch()).payload == "other"
    assert forgotten(flow)


async def test_other_traces_go_on(run: Run) -> None:
    gate = Gate()
    flow = run(chain(node(gate, "a"), passing("b")))
    for i in range(6):
        await flow.emit(message(i, trace_id=f"t{i % 2}"))
    await gate.entered.wait()
    assert await flow.cancel("t0")
    gate.open.set()
    assert [(await flow.fetch()).payload for _ in range(3)] == [1, 3, 5]


async def test_worker_lives_on_after_a_cancel(run: Run) -> None:
    gate = Gate()
    flow = run(create(node(gate).to()))
    for _ in range(3):
        gate.entered.clear()
        await flow.emit(message(trace_id="t"))
        await gate.entered.wait()
        assert await flow.cancel("t")
        await settle()
    gate.open.set()
    await flow.emit(message("alive"))
    assert (await flow.fetch()).payload == "alive"
    assert gate.cancelled == 3


async def test_result_of_a_node_that_ignores_its_cancel_is_dropped(run: Run) -> None:
    events = Events()

    async def ignore(msg: Any, ctx: Any) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await ctx.emit("said while unwinding")
        return "in spite of it"

    flow = run(chain(node(ignore, "a"), passing("b"), middlewares=[events]))
    await flow.emit(message(trace_id="t"))
    await settle()
    assert await flow.cancel("t")
    await settle()
    assert events.one("trace_cancel_drop").node_name == "b"
    assert events.one("node_trace_cancelled").node_name == "a"
    assert events.names[-1] == "trace_cancel_finish"
    assert not events.of("node_success", "node_error")
    assert forgotten(flow)


async def test_value_sent_straight_out_while_cancelled_is_dropped(run: Run) -> None:
    events = Events()

    async def last_words(msg: Any, ctx: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            await ctx.emit("too late")

    flow = run(create(node(last_words).to(), middlewares=[events]))
    await flow.emit(message(trace_id="t"))
    await settle()
    await flow.cancel("t")
    await settle()
    assert events.names[-1] == "trace_cancel_finish"
    assert forgotten(flow)


async def test_node_that_cancels_its_own_trace(run: Run) -> None:
    events = Events()

    async def give_up(msg: Any, ctx: Any) -> Any:
        assert await ctx.runtime.cancel(msg.trace_id)
        return msg

    flow = run(chain(node(give_up, "a"), passing("b"), middlewares=[events]))
    await flow.emit(message(trace_id="t"))
    await settle()
    assert events.names == [
        "node_start",
        "trace_cancel_start",
        "node_trace_cancelled",
        "trace_cancel_finish",
    ]
    await flow.emit(message("next", trace_id="t"), trace_id="u")
    await settle()
    assert forgotten(flow)


async def test_exception_while_being_cancelled_is_no_failure(run: Run) -> None:
    events = Events()

    async def break_down(msg: Any, ctx: Any) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError from None

    flow = run(create(node(break_down, max_retries=3).to(), middlewares=[events]))
    await flow.emit(message(trace_id="t"))
    await settle()
    await flow.cancel("t")
    await settle()
    assert events.names == [
        "node_start",
        "trace_cancel_start",
        "node_trace_cancelled",
        "trace_cancel_finish",
    ]


async def test_stray_cancelled_error_does_not_end_the_worker_or_lose_the_message(run: Run) -> None:
    events = Events()

    async def stray(msg: Any, ctx: Any) -> Any:
        if msg.payload == "raise":
            raise asyncio.CancelledError
        if msg.payload == "await":
            task = asyncio.ensure_future(asyncio.Event().wait())
            task.cancel()
            await task
        return msg

    flow = run(create(node(stray).to(), middlewares=[events], emit_errors_to_rookery=True))
    for payload in ("raise", "await"):
        await flow.emit(message(payload))
        error = await flow.fetch()
        assert (error.code, error.exception_type) == ("NODE_EXCEPTION", "CancelledError")
    await flow.emit(message("fine"))
    assert (await flow.fetch()).payload == "fine"


async def test_stray_cancelled_error_of_a_listener_is_only_logged(run: Run) -> None:
    async def broken(event: Any) -> None:
        raise asyncio.CancelledError

    flow = run(create(passing("n").to(), middlewares=[broken]))
    await flow.emit("x")
    assert await flow.fetch() == "x"


async def test_cancel_does_not_wait_for_a_back_off(run: Run) -> None:
    events = Events()

    async def fail(msg: Any, ctx: Any) -> Any:
        raise ValueError

    flow = run(create(node(fail, max_retries=5, backoff_base=3600).to(), middlewares=[events]))
    await flow.emit(message(trace_id="t"))
    await settle()
    assert events.names[-1] == "node_retry"
    assert await flow.cancel("t")
    assert events.names[-3:] == [
        "trace_cancel_start",
        "node_trace_cancelled",
        "trace_cancel_finish",
    ]
    assert forgotten(flow)


async def test_external_tasks_are_not_cancelled_with_the_trace(run: Run) -> None:
    gate = Gate()
    flow = run(create(node(gate).to()))
    external = asyncio.ensure_future(asyncio.Event().wait())
    flow.register_external_task("t", external)
    await flow.emit(message(trace_id="t"))
    await gate.entered.wait()
    await flow.cancel("t")
    await settle()
    assert not external.done()
    await flow.stop()
    assert external.cancelled()


async def test_event_of_a_trace_is_one_object_and_new_after_the_cancel(run: Run) -> None:
    gate = Gate()
    flow = run(create(node(gate).to()))
    before = flow.ensure_trace_event("t")
    assert flow.ensure_trace_event("t") is before
    await flow.emit(message(trace_id="t"))
    await gate.entered.wait()
    assert flow.ensure_trace_event("t") is before
    await flow.cancel("t")
    await settle()
    assert before.is_set()
    assert not flow.ensure_trace_event("t").is_set()


async def test_cancel_forgets_what_a_join_has_collected(run: Run) -> None:
    from penguiflow import join_k

    flow = run(create(join_k("join", 2).to()))
    await flow.emit(message(1, trace_id="t"))
    await settle()
    assert await flow.cancel("t") is False
    assert forgotten(flow)
    await flow.emit(message(2, trace_id="t"))
    await flow.emit(message(3, trace_id="t"))
    assert (await flow.fetch()).payload == [2, 3]


async def test_stop_in_the_middle_of_a_cancel_finishes_it(run: Run) -> None:
    events = Events()
    gate = Gate()
    flow = run(create(node(gate).to(), middlewares=[events]))
    await flow.emit(message(trace_id="t"))
    await gate.entered.wait()
    await flow.cancel("t")
    await flow.stop()
    assert events.names.count("trace_cancel_finish") == 1
    assert forgotten(flow)
