"""A remote node, sentence by sentence of its contract."""

from __future__ import annotations

import time

import pytest

from penguiflow import FlowError, ModelRegistry, NodePolicy, create
from penguiflow.remote import (
    RemoteCallResult,
    RemoteStreamEvent,
)
from penguiflow.state.models import RemoteBinding
from tests.unit.remote_running import URL, Detached, Running, message, node_of
from tests.unit.remote_transports import MintingTransport, Transport

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
