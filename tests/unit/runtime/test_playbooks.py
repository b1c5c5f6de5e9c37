"""Subflows called from nodes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow import FlowError, ModelRegistry, Node, PenguiFlow, call_playbook, create
from penguiflow.core import TraceCancelled
from tests.support.flows import Events, chain, forgotten, message, node, passing, same, settle
from tests.unit.runtime.conftest import Run


class Playbook:
    """A factory that remembers what it made."""

    def __init__(self, func: Any, **options: Any) -> None:
        self.func = func
        self.options = options
        self.flow: PenguiFlow | None = None

    def __call__(self) -> tuple[PenguiFlow, None]:
        self.flow = chain(node(self.func, "sub"), **self.options)
        return self.flow, None

    @property
    def is_stopped(self) -> bool:
        return self.flow is not None and not self.flow._host.running


async def double(msg: Any, ctx: Any) -> Any:
    return msg.model_copy(update={"payload": msg.payload * 2})


async def hang(msg: Any, ctx: Any) -> Any:
    await asyncio.Event().wait()


async def test_gives_the_payload_of_the_first_result() -> None:
    playbook = Playbook(double)
    assert await call_playbook(playbook, message(21)) == 42
    assert playbook.is_stopped


async def test_bare_result_is_given_as_it_is() -> None:
    async def bare(msg: Any, ctx: Any) -> Any:
        return "bare"

    assert await call_playbook(Playbook(bare), message()) == "bare"


async def test_registry_of_the_playbook_is_used() -> None:
    def playbook() -> tuple[PenguiFlow, ModelRegistry]:
        return create(Node(same, name="n").to()), ModelRegistry()

    with pytest.raises(RuntimeError, match="missing entries for nodes requiring validation: n"):
        await call_playbook(playbook, message())


async def test_called_from_a_node(run: Run) -> None:
    playbook = Playbook(double)

    async def call(msg: Any, ctx: Any) -> Any:
        return msg.model_copy(update={"payload": await ctx.call_playbook(playbook, msg)})

    flow = run(chain(node(call, "a"), passing("b")))
    await flow.emit(message(4))
    assert (await flow.fetch()).payload == 8
    assert playbook.is_stopped


async def test_timeout() -> None:
    playbook = Playbook(hang)
    with pytest.raises(TimeoutError):
        await call_playbook(playbook, message(), 0.005)
    assert playbook.is_stopped


async def test_failing_playbook_does_not_hang_its_caller() -> None:
    async def fail(msg: Any, ctx: Any) -> Any:
        raise ValueError("broken")

    for options in ({}, {"emit_errors_to_rookery": True}):
        playbook = Playbook(fail, **options)
        with pytest.raises(FlowError, match="raised ValueError: broken"):
            await call_playbook(playbook, message())
        assert playbook.is_stopped


async def test_cancel_of_the_parent_is_mirrored(run: Run) -> None:
    events = Events()
    playbook = Playbook(hang, middlewares=[events])

    async def call(msg: Any, ctx: Any) -> Any:
        return await ctx.call_playbook(playbook, msg)

    flow = run(create(node(call).to()))
    await flow.emit(message(trace_id="t"))
    await settle()
    assert await flow.cancel("t")
    while not forgotten(flow):
        await asyncio.sleep(0)
    assert playbook.is_stopped
    assert [n for n in events.names if "cancel" in n][:2] == [
        "trace_cancel_start",
        "node_trace_cancelled",
    ]
    assert events.one("trace_cancel_start").trace_id == "t"


async def test_cancel_is_mirrored_to_a_caller_outside_of_a_node(run: Run) -> None:
    blocked = asyncio.Event()

    async def wait(msg: Any, ctx: Any) -> Any:
        await blocked.wait()

    flow = run(create(node(wait).to()))
    await flow.emit(message(trace_id="t"))
    playbook = Playbook(hang)
    calling = asyncio.create_task(call_playbook(playbook, message(trace_id="t"), runtime=flow))
    await settle()
    await flow.cancel("t")
    with pytest.raises(TraceCancelled):
        await calling
    assert playbook.is_stopped


async def test_playbook_of_a_cancelled_trace_is_not_run(run: Run) -> None:
    flow = run(create(passing("n").to()))
    flow.ensure_trace_event("t").set()
    event = flow.ensure_trace_event("t")
    event.set()
    playbook = Playbook(double)
    with pytest.raises(TraceCancelled):
        await call_playbook(playbook, message(trace_id="t"), runtime=flow)
    assert playbook.flow is None


async def test_cancelled_caller_stops_the_subflow_nevertheless() -> None:
    unwound: list[bool] = []

    async def slow_end(msg: Any, ctx: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.005)
            unwound.append(True)

    playbook = Playbook(slow_end)
    calling = asyncio.create_task(call_playbook(playbook, message()))
    await settle()
    calling.cancel()
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert unwound == [True]
    assert playbook.is_stopped


async def test_event_set_by_hand_is_seen_by_a_later_playbook(run: Run) -> None:
    flow = run(create(passing("a").to()))
    flow.ensure_trace_event("t").set()
    with pytest.raises(TraceCancelled):
        await call_playbook(
            lambda: (create(passing("a").to()), None), message(trace_id="t"), runtime=flow
        )
