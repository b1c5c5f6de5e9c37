"""A remote node, sentence by sentence of its contract."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from penguiflow import FlowError, FlowEvent, ModelRegistry, NodePolicy, StreamChunk, create
from penguiflow.errors import TraceCancelled
from penguiflow.flow import PenguiFlow
from penguiflow.node import Node
from penguiflow.remote import (
    RemoteCallResult,
    RemoteNode,
    RemoteStreamEvent,
    RemoteTaskFailed,
    RemoteTaskInputRequired,
    RemoteTaskSnapshot,
    RemoteTaskState,
    RemoteTaskStatus,
)
from penguiflow.state.models import RemoteBinding, StoredEvent
from penguiflow.state.protocols import SupportsConversationBindings
from penguiflow.types import Headers, Message
from tests.unit.remote_transports import MintingTransport, Transport

URL = "memory://agent"
NO_CHECK = NodePolicy(validate="none")


class Store(SupportsConversationBindings):
    def __init__(self) -> None:
        self.bindings: list[RemoteBinding] = []

    async def save_event(self, event: StoredEvent) -> None: ...

    async def load_history(self, trace_id: str) -> list[StoredEvent]:
        return []

    async def save_remote_binding(self, binding: RemoteBinding) -> None:
        self.bindings.append(binding)


class Seen(list[FlowEvent]):
    """The events of the flow; of those about remote calls, their names and extras."""

    async def __call__(self, event: FlowEvent) -> None:
        self.append(event)

    def remote(self) -> list[str]:
        names = [event.event_type for event in self]
        return [name for name in names if name.startswith("remote_")]

    def extra(self, name: str) -> dict[str, Any]:
        return dict(next(event.extra for event in self if event.event_type == name))


def node_of(transport: Transport, **options: Any) -> Node:
    options = {"policy": NO_CHECK, **options}
    return RemoteNode(transport=transport, skill="sum", agent_url=URL, name="remote", **options)


def message(payload: Any = "question", **fields: Any) -> Message:
    return Message(payload=payload, headers=Headers(tenant="acme"), **fields)


class Running:
    """A flow of one remote node, running."""

    def __init__(self, transport: Transport, **options: Any) -> None:
        self.events, self.store = Seen(), Store()
        self.node = node_of(transport, **options)
        self.flow: PenguiFlow = create(
            self.node.to(),
            middlewares=[self.events],
            state_store=self.store,
            emit_errors_to_rookery=True,
        )

    async def __aenter__(self) -> Running:
        self.flow.run()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.flow.stop()

    async def call(self, msg: Any = None) -> Any:
        """The result; chunks are skipped."""
        await self.flow.emit(message() if msg is None else msg)
        async with asyncio.timeout(5):
            while isinstance(value := await self.flow.fetch(), Message):
                assert isinstance(value.payload, StreamChunk)
            return value


# ---- the request ---------------------------------------------------------------------------------


async def test_takes_only_a_message() -> None:
    async with Running(Transport()) as running:
        error = await running.call("a text")
    assert isinstance(error, FlowError)
    assert isinstance(error.unwrap(), TypeError)


async def test_the_request_says_what_the_message_says() -> None:
    transport = Transport()
    meta = {"remote_context_id": "c", "context_id": "other", "remote_task_id": "t", "more": 1}
    policy = NodePolicy(validate="none", timeout_s=7.0)
    async with Running(transport, policy=policy, agent_card={"name": "a"}) as running:
        await running.call(message(meta=meta, trace_id="trace"))
    (request,) = transport.requests
    assert request.skill == "sum"
    assert request.agent_url == URL
    assert request.agent_card == {"name": "a"}
    assert request.metadata == meta
    assert request.timeout_s == 7.0
    assert (request.context_id, request.task_id) == ("c", "t")
    assert (request.trace_id, request.tenant) == ("trace", "acme")
    assert request.idempotency_key


async def test_the_context_id_may_have_its_short_name() -> None:
    transport = Transport()
    async with Running(transport) as running:
        await running.call(message(meta={"context_id": "c"}))
    assert transport.requests[0].context_id == "c"


async def test_the_deadline_bounds_the_timeout_and_travels() -> None:
    transport = Transport()
    deadline = time.time() + 3
    policy = NodePolicy(validate="none", timeout_s=60)
    async with Running(transport, policy=policy) as running:
        await running.call(message(deadline_s=deadline))
    (request,) = transport.requests
    assert request.deadline_s == deadline
    assert request.timeout_s is not None
    assert 2 < request.timeout_s <= 3


async def test_every_attempt_has_the_same_idempotency_key() -> None:
    transport = Transport(answer=ValueError("broken"))
    policy = NodePolicy(validate="none", max_retries=2, backoff_base=0.001)
    async with Running(transport, policy=policy) as running:
        assert isinstance(await running.call(), FlowError)
        keys = {request.idempotency_key for request in transport.requests}
        assert len(transport.requests) == 3
        assert len(keys) == 1
        await running.call()
    assert len({request.idempotency_key for request in transport.requests}) == 2


async def test_validates_both_unless_told_otherwise() -> None:
    node = node_of(Transport(), policy=None)
    assert node.policy.validate == "both"
    with pytest.raises(RuntimeError, match="remote"):
        create(node.to()).run(registry=ModelRegistry())


# ---- results -------------------------------------------------------------------------------------


async def test_a_call_returns_the_result() -> None:
    async with Running(Transport(answer={"n": 1})) as running:
        assert await running.call() == {"n": 1}


async def test_each_text_of_a_stream_is_a_chunk_and_the_last_result_returns() -> None:
    events = [
        RemoteStreamEvent(task_id="t"),
        RemoteStreamEvent(text="a", meta={"k": 1}),
        RemoteStreamEvent(text="", result="first"),
        RemoteStreamEvent(text="b", done=True, result="last"),
        RemoteStreamEvent(done=True),
    ]
    async with Running(Transport(events=events), streaming=True) as running:
        parent = message(trace_id="trace")
        await running.flow.emit(parent)
        values = [await running.flow.fetch() for _ in range(4)]
    *messages, result = values
    assert result == "last"
    chunks = [each.payload for each in messages]
    assert [(chunk.text, chunk.done, chunk.meta) for chunk in chunks] == [
        ("a", False, {"k": 1}),
        ("", False, {}),
        ("b", True, {}),
    ]
    assert {each.trace_id for each in messages} == {"trace"}
    assert {chunk.stream_id for chunk in chunks} == {"trace"}


# ---- bindings ------------------------------------------------------------------------------------


async def test_the_first_answer_with_a_task_id_saves_the_binding() -> None:
    events = [
        RemoteStreamEvent(text="no id yet"),
        RemoteStreamEvent(task_id="t", context_id="c"),
        RemoteStreamEvent(text="more", task_id="t", context_id="c", result="r"),
    ]
    meta = {"session_id": "s", "user_id": "u", "tenant": "other"}
    async with Running(Transport(events=events), streaming=True) as running:
        await running.call(message(meta=meta, trace_id="trace"))
        await running.flow.stop()
    first, ended = running.store.bindings
    assert first == RemoteBinding(
        trace_id="trace",
        context_id="c",
        task_id="t",
        agent_url=URL,
        router_session_id="s",
        remote_skill="sum",
        tenant_id="other",
        user_id="u",
        last_remote_task_id="t",
        metadata={"source": "remote_node"},
    )
    assert ended.is_terminal
    assert ended.metadata == {"source": "remote_node", "outcome": "completed"}


async def test_the_bindings_tenant_is_that_of_meta_or_of_the_headers() -> None:
    async with Running(Transport(answer=RemoteCallResult("r", task_id="t"))) as running:
        await running.call(message(meta={"tenant_id": "first", "tenant": "second"}))
        await running.call(message())
        await running.flow.stop()
    tenants = [b.tenant_id for b in running.store.bindings if not b.is_terminal]
    assert tenants == ["first", "acme"]


async def test_without_record_binding_none_is_saved() -> None:
    transport = Transport(answer=RemoteCallResult("r", task_id="t"))
    async with Running(transport, record_binding=False) as running:
        await running.call()
    assert running.store.bindings == []


async def test_without_a_task_id_none_is_saved() -> None:
    async with Running(Transport()) as running:
        await running.call()
    assert running.store.bindings == []


async def test_a_minted_task_is_bound_before_it_is_asked_for() -> None:
    class Looking(MintingTransport):
        async def send(self, request):
            self.bound = [binding.task_id for binding in running.store.bindings]
            return await super().send(request)

    transport = Looking()
    async with Running(transport) as running:
        await running.call()
    assert transport.requests[0].task_id == "minted-0"
    assert transport.bound == ["minted-0"]


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


class Detached:
    """A context by hand."""

    def __init__(self, runtime: PenguiFlow | None) -> None:
        self.runtime = runtime
        self.attempt = 0
        self.idempotency_key = "key"


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


# ---- events --------------------------------------------------------------------------------------


async def test_events_of_a_call_carry_what_is_known() -> None:
    transport = Transport(answer=RemoteCallResult("four", task_id="t", context_id="c"))
    async with Running(transport) as running:
        await running.call(asked := message("question"))
    assert running.events.remote() == ["remote_call_start", "remote_call_success"]
    base = {
        "remote_skill": "sum",
        "remote_transport": "Transport",
        "remote_streaming": False,
        "remote_request_bytes": len(asked.model_dump_json()),
        "remote_agent_url": URL,
    }
    assert running.events.extra("remote_call_start") == base
    assert running.events.extra("remote_call_success") == {
        **base,
        "remote_task_id": "t",
        "remote_context_id": "c",
        "remote_response_bytes": len("four"),
        "remote_stream_events": 0,
        "remote_status": "success",
    }


async def test_events_of_a_stream_count_its_pieces() -> None:
    events = [
        RemoteStreamEvent(text="aä", meta={"b": 1, "a": 2}, task_id="t"),
        RemoteStreamEvent(text="b", done=True, result="r"),
    ]
    async with Running(Transport(events=events), streaming=True) as running:
        await running.call()
        await running.flow.stop()
    pieces = [e.extra for e in running.events if e.event_type == "remote_stream_event"]
    assert [
        (
            piece["remote_stream_seq"],
            piece["remote_chunk_bytes"],
            piece["remote_chunk_done"],
            piece.get("remote_chunk_meta_keys"),
        )
        for piece in pieces
    ] == [(0, 3, False, ["a", "b"]), (1, 1, True, None)]
    success = running.events.extra("remote_call_success")
    assert success["remote_stream_events"] == 2
    assert success["remote_response_bytes"] == 5


async def test_works_without_a_runtime() -> None:
    node = node_of(Transport())
    assert await node.func(message(), Detached(None)) == "result"
