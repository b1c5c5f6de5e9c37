"""The test kit."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from penguiflow import FlowErrorCode, Headers, Message, ModelRegistry, Node, create
from penguiflow.testkit import (
    assert_node_sequence,
    assert_preserves_message_envelope,
    get_recorded_events,
    run_one,
    simulate_error,
)
from tests.support.flows import HEADERS, chain, message, node, passing, same


async def test_run_one_gives_the_first_result_and_stops_the_flow() -> None:
    flow = chain(passing("a"), passing("b"))
    for i in range(2):
        result = await run_one(flow, message(i))
        assert result.payload == i
    with pytest.raises(RuntimeError, match="not running"):
        await flow.cancel("t")


async def test_run_one_takes_a_registry() -> None:
    registry = ModelRegistry()
    registry.register("n", Message, Message)
    flow = create(Node(same, name="n").to())
    assert (await run_one(flow, message("x"), registry=registry)).payload == "x"
    assert flow.registry is registry


async def test_run_one_takes_messages_only() -> None:
    with pytest.raises(TypeError):
        await run_one(chain(passing("a")), "plain")  # type: ignore[arg-type]


async def test_run_one_has_a_timeout_and_stops_in_any_case() -> None:
    async def hang(msg: Any, ctx: Any) -> None:
        await asyncio.Event().wait()

    flow = create(node(hang).to())
    with pytest.raises(TimeoutError):
        await run_one(flow, message(), timeout_s=0.005)
    with pytest.raises(RuntimeError, match="not running"):
        await flow.cancel("t")


async def test_events_are_recorded_by_trace() -> None:
    sent = message()
    await run_one(chain(passing("a"), passing("b")), sent)
    events = get_recorded_events(sent.trace_id)
    assert isinstance(events, tuple)
    assert [(e.event_type, e.node_name) for e in events[:3]] == [
        ("node_start", "a"), ("node_success", "a"), ("node_start", "b"),
    ]  # fmt: skip
    assert get_recorded_events("never seen") == ()


async def test_last_64_traces_are_remembered() -> None:
    flow = chain(passing("a"))
    sent = [message() for _ in range(70)]
    for each in sent:
        await run_one(flow, each)
    known = [bool(get_recorded_events(each.trace_id)) for each in sent]
    assert known == [False] * 6 + [True] * 64


async def test_node_sequence_collapses_attempts() -> None:
    shaky = simulate_error("shaky", "X", fail_times=2)
    flow = chain(passing("a"), node(shaky, "b", max_retries=2, backoff_base=0), passing("c"))
    sent = message()
    await run_one(flow, sent)
    assert_node_sequence(sent.trace_id, ["a", "b", "c"])
    for wrong in (["a", "b"], ["a", "c", "b"], []):
        with pytest.raises(AssertionError):
            assert_node_sequence(sent.trace_id, wrong)
    with pytest.raises(AssertionError):
        assert_node_sequence("never seen", ["a"])


async def test_simulated_error() -> None:
    simulated = simulate_error("n", FlowErrorCode.NODE_TIMEOUT, fail_times=2)
    for attempt in (1, 2):
        text = rf"\[NODE_TIMEOUT\] simulated failure in n \(attempt {attempt}\)"
        with pytest.raises(RuntimeError, match=text):
            await simulated("msg", None)
    assert await simulated("msg", None) == "msg"
    assert (simulated.simulation.attempts, simulated.simulation.failures) == (3, 2)


async def test_simulated_results() -> None:
    async def later(msg: Any) -> str:
        return f"later {msg}"

    made = [
        simulate_error("n", "X", result="fixed"),
        simulate_error("n", "X", result_factory=lambda msg: f"made of {msg}"),
        simulate_error("n", "X", result_factory=later),
    ]
    for each in made:
        with pytest.raises(RuntimeError):
            await each("msg", None)
    assert [await each("msg", None) for each in made] == ["fixed", "made of msg", "later msg"]
    with pytest.raises(KeyError):
        await simulate_error("n", "X", exception_type=KeyError)("msg", None)
    with pytest.raises(ValueError, match="fail_times must be >= 1"):
        simulate_error("n", "X", fail_times=0)
    with pytest.raises(ValueError, match="only one of result or result_factory"):
        simulate_error("n", "X", result=1, result_factory=later)
    assert inspect.iscoroutinefunction(made[0])


async def test_envelope_that_is_kept() -> None:
    assert isinstance(await assert_preserves_message_envelope(node(same)), Message)
    sent = message("x", trace_id="t")
    assert await assert_preserves_message_envelope(same, message=sent) is sent


@pytest.mark.parametrize(
    "changes", [{"trace_id": "other"}, {"headers": Headers(tenant="other")}, None]
)
async def test_envelope_that_is_not_kept(changes: dict[str, Any] | None) -> None:
    async def change(msg: Message, ctx: Any) -> Any:
        return msg.payload if changes is None else msg.model_copy(update=changes)

    with pytest.raises(AssertionError):
        await assert_preserves_message_envelope(change, message=message("x"))


async def test_headers_changed_in_place_are_noticed() -> None:
    async def change(msg: Message, ctx: Any) -> Any:
        msg.headers.tenant = "other"
        return msg

    sent = Message(payload=1, headers=HEADERS.model_copy())
    with pytest.raises(AssertionError):
        await assert_preserves_message_envelope(change, message=sent)


async def test_sync_function_has_no_envelope_to_keep() -> None:
    with pytest.raises(TypeError):
        await assert_preserves_message_envelope(lambda msg, ctx: msg)  # type: ignore[arg-type, return-value]
