"""Ends of a remote call: cancels, timeouts, exceptions; the remote task ends with each."""

from __future__ import annotations

import asyncio

import pytest

from penguiflow import NodePolicy
from penguiflow.errors import TraceCancelled
from penguiflow.remote import (
    RemoteCallResult,
    RemoteStreamEvent,
    RemoteTaskFailed,
    RemoteTaskInputRequired,
    RemoteTaskSnapshot,
    RemoteTaskState,
    RemoteTaskStatus,
)
from tests.unit.remote_running import URL, Detached, Running, message
from tests.unit.remote_transports import MintingTransport, Transport

# ---- cancel --------------------------------------------------------------------------------------


@pytest.mark.parametrize("record_binding", [True, False])
async def test_a_trace_cancel_cancels_the_remote_task(record_binding: bool) -> None:
    transport = Transport(events=[RemoteStreamEvent(text="a", task_id="t"), None])
    transport.hold = asyncio.Event()
    async with Running(transport, streaming=True, record_binding=record_binding) as running:
        await running.flow.emit(message(trace_id="trace"))
        await running.flow.fetch()
        assert await running.flow.cancel("trace")
        await cancelled(running)
    assert transport.cancels == [(URL, "t")]
    assert transport.closed_streams == 1
    extra = running.events.extra("remote_call_cancelled")
    assert extra["remote_cancel_reason"] == "trace_cancel"
    assert extra["remote_status"] == "cancelled"
    names = [event.event_type for event in running.events]
    assert names.index("remote_call_cancelled") < names.index("node_trace_cancelled")
    assert "node_error" not in names


async def cancelled(running: Running) -> None:
    async with asyncio.timeout(5):
        while "trace_cancel_finish" not in [event.event_type for event in running.events]:
            await asyncio.sleep(0.005)


async def test_a_trace_cancel_cancels_a_unary_call_with_a_minted_id() -> None:
    transport = MintingTransport()
    transport.hold = asyncio.Event()
    async with Running(transport) as running:
        await running.flow.emit(message(trace_id="trace"))
        await transport.asked.wait()
        await running.flow.cancel("trace")
        await cancelled(running)
    assert transport.cancels == [(URL, "minted-0")]


async def test_a_trace_cancelled_before_the_task_has_a_name_cancels_it_when_it_has() -> None:
    transport = Transport(events=[None, RemoteStreamEvent(text="a", task_id="t")])
    transport.hold = asyncio.Event()
    async with Running(transport, streaming=True) as running:
        await running.flow.emit(message(trace_id="trace"))
        await transport.asked.wait()
        await running.flow.cancel("trace")
        await asyncio.sleep(0.01)
        transport.hold.set()
        await cancelled(running)
    assert transport.cancels == [(URL, "t")]
    assert "remote_call_cancelled" in running.events.remote()
    assert "remote_stream_event" not in running.events.remote()


async def test_an_already_cancelled_trace_cancels_and_raises() -> None:
    transport = Transport(answer=RemoteCallResult("r", task_id="t"))
    running = Running(transport)
    context = Detached(running.flow)
    running.flow.run()
    event = running.flow.ensure_trace_event("trace")
    event.set()
    transport.hold = asyncio.Event()
    with pytest.raises(TraceCancelled):
        await running.node.func(message(trace_id="trace", meta={"remote_task_id": "t"}), context)
    assert transport.cancels == [(URL, "t")]
    extra = running.events.extra("remote_call_cancelled")
    assert extra["remote_cancel_reason"] == "pre_cancelled"
    await running.flow.stop()


async def test_a_failing_cancel_is_only_recorded() -> None:
    transport = MintingTransport()
    transport.hold = asyncio.Event()
    transport.cancel_raises = ConnectionError("away")
    async with Running(transport) as running:
        await running.flow.emit(message(trace_id="trace"))
        await transport.asked.wait()
        await running.flow.cancel("trace")
        await cancelled(running)
    extra = running.events.extra("remote_cancel_error")
    assert extra["remote_status"] == "cancel_error"
    assert "away" in extra["remote_error"]
    assert "remote_call_cancelled" not in running.events.remote()


async def test_a_slow_cancel_is_not_cut_off_by_the_stop() -> None:
    transport = MintingTransport()
    transport.hold = asyncio.Event()
    transport.cancel_takes = 0.1
    async with Running(transport) as running:
        await running.flow.emit(message(trace_id="trace"))
        await transport.asked.wait()
        await running.flow.cancel("trace")
        await asyncio.sleep(0.01)
        await running.flow.stop()
    assert transport.cancels == [(URL, "minted-0")]
    assert "remote_call_cancelled" in running.events.remote()


async def test_an_endless_cancel_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penguiflow.remote_call.CANCEL_LIMIT", 0.05)
    transport = MintingTransport()
    transport.hold = asyncio.Event()
    transport.cancel_takes = 60
    async with Running(transport) as running:
        await running.flow.emit(message(trace_id="trace"))
        await transport.asked.wait()
        await running.flow.cancel("trace")
        await cancelled(running)
    assert "TimeoutError" in running.events.extra("remote_cancel_error")["remote_error"]


# ---- every end without a result ------------------------------------------------------------------


async def test_a_timeout_cancels_the_remote_task() -> None:
    transport = MintingTransport()
    transport.hold = asyncio.Event()
    policy = NodePolicy(validate="none", timeout_s=0.05, max_retries=1, backoff_base=0.001)
    async with Running(transport, policy=policy) as running:
        error = await running.call()
    assert error.code == "NODE_TIMEOUT"
    assert transport.cancels == [(URL, "minted-0"), (URL, "minted-1")]


async def test_a_stop_cancels_the_remote_task() -> None:
    transport = MintingTransport()
    transport.hold = asyncio.Event()
    async with Running(transport) as running:
        await running.flow.emit(message())
        await transport.asked.wait()
        await running.flow.stop()
    assert transport.cancels == [(URL, "minted-0")]
    assert running.events.extra("remote_call_cancelled")["remote_cancel_reason"] == "stopped"


async def test_an_exception_is_recorded_raised_and_cancels_the_remote_task() -> None:
    transport = Transport(events=[RemoteStreamEvent(task_id="t"), ConnectionError("cut")])
    async with Running(transport, streaming=True) as running:
        error = await running.call()
    assert isinstance(error.unwrap(), ConnectionError)
    assert transport.cancels == [(URL, "t")]
    extra = running.events.extra("remote_call_error")
    assert extra["remote_status"] == "error"
    assert "cut" in extra["remote_error"]
    assert extra["remote_task_id"] == "t"


async def test_an_exception_before_any_task_id_cancels_nothing() -> None:
    transport = Transport(answer=ConnectionError("refused"))
    async with Running(transport) as running:
        await running.call()
    assert transport.cancels == []
    assert running.events.remote() == ["remote_call_start", "remote_call_error"]


async def test_a_task_that_ended_is_not_cancelled_but_closed() -> None:
    snapshot = RemoteTaskSnapshot("minted-0", None, RemoteTaskStatus(RemoteTaskState.FAILED))
    transport = MintingTransport(RemoteTaskFailed(snapshot, code="X", message="it failed"))
    async with Running(transport) as running:
        error = await running.call()
        await running.flow.stop()
    assert isinstance(error.unwrap(), RuntimeError)
    assert transport.cancels == []
    assert running.store.bindings[-1].metadata["outcome"] == "failed"


async def test_a_task_that_waits_for_input_is_left_to_be_resumed() -> None:
    snapshot = RemoteTaskSnapshot(
        "minted-0", None, RemoteTaskStatus(RemoteTaskState.INPUT_REQUIRED)
    )
    transport = MintingTransport(RemoteTaskInputRequired(snapshot))
    async with Running(transport) as running:
        await running.call()
        await running.flow.stop()
    assert transport.cancels == []
    assert not any(binding.is_terminal for binding in running.store.bindings)
