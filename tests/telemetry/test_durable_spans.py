"""The span model of durable flows, in memory and on a real server."""

from __future__ import annotations

import asyncio
import itertools
import secrets

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from penguiflow import Context, FlowError, Message, Node, create
from penguiflow.durable.client import DurableClient
from penguiflow.durable.log import Key, Kind
from penguiflow.durable.tokens import trace_token
from penguiflow.patterns import join_k
from penguiflow.telemetry import Tracing
from penguiflow.telemetry.ids import trace_number
from tests.contract.engine.flows import (
    PLAIN,
    Gate,
    answer,
    message,
    single,
    split,
    square,
    sum_of_squares,
)
from tests.contract.engine.houses import LEASE, House, MemoryHouse
from tests.support.eventually import eventually
from tests.telemetry.spans import Spans, parent_of, trace_of


async def _client(house: House, flow: object, telemetry: Tracing | None) -> DurableClient:
    log = await house.log(flow)  # type: ignore[arg-type]
    client = DurableClient(flow, log, telemetry=telemetry)  # type: ignore[arg-type]
    await client.start()
    return client


async def test_a_trace_is_found_by_the_flows_own_id(house: House) -> None:
    spans, flow = Spans(), sum_of_squares(3)
    client = await _client(house, flow, spans.tracing)
    await house.worker(flow, telemetry=spans.tracing)
    msg = message(3)
    await client.round_trip(msg, timeout=20)
    await eventually(lambda: len(spans.named(f"process pf.{client.log.flow}.total")) == 1)
    assert {trace_of(span) for span in spans.all} == {msg.trace_id}
    assert {span.attributes["penguiflow.trace_id"] for span in spans.all} == {msg.trace_id}
    ids = {span.context.span_id for span in spans.all}
    assert len(ids) == len(spans.all)
    roots = [span.name for span in spans.all if span.parent is None]
    assert roots == [f"emit {client.log.flow}"]
    assert all(parent_of(span) in ids for span in spans.all if span.parent is not None)


async def test_sent_and_processed_are_parent_and_child(house: House) -> None:
    spans = Spans()
    first, second = Node(square, name="a", policy=PLAIN), Node(square, name="b", policy=PLAIN)
    flow = create(first.to(second), second.to(), name="two")
    client = await _client(house, flow, spans.tracing)
    await house.worker(flow, telemetry=spans.tracing)
    await client.round_trip(message(2), timeout=20)
    name = client.log.flow
    await eventually(lambda: spans.named(f"process pf.{name}.b"))
    chain = [f"emit {name}", f"process pf.{name}.a", f"publish pf.{name}.b", f"process pf.{name}.b"]
    found = [spans.one(each) for each in chain]
    kinds = [SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.PRODUCER, SpanKind.CONSUMER]
    assert [span.kind for span in found] == kinds
    for above, below in itertools.pairwise(found):
        assert parent_of(below) == above.context.span_id
    attributes = dict(found[1].attributes)
    assert attributes["messaging.system"] == client.log.system
    assert attributes["messaging.operation.type"] == "process"
    assert attributes["messaging.destination.template"] == f"pf.{name}.a"
    assert (attributes["penguiflow.attempt"], attributes["nats.delivery_count"]) == (0, 1)
    assert attributes["penguiflow.outcome"] == "ok"
    assert found[1].status.status_code is StatusCode.UNSET


async def test_a_join_has_one_parent_and_links_to_the_others(house: House) -> None:
    spans, flow = Spans(), sum_of_squares(3)
    client = await _client(house, flow, spans.tracing)
    await house.worker(flow, telemetry=spans.tracing)
    await client.round_trip(message(3), timeout=20)
    name = client.log.flow
    await eventually(lambda: spans.named(f"process pf.{name}.join"))
    joined = spans.one(f"process pf.{name}.join")
    published = {span.context.span_id for span in spans.named(f"publish pf.{name}.join")}
    linked = {link.context.span_id for link in joined.links}
    assert len(published) == 3
    assert linked | {parent_of(joined)} == published
    assert len(linked) == 2
    assert joined.attributes["messaging.batch.message_count"] == 3


async def test_each_attempt_is_a_sibling_with_its_outcome() -> None:
    house, spans, tried = MemoryHouse(), Spans(), []

    async def node(msg: Message, ctx: Context) -> Message:
        tried.append(ctx.attempt)
        if len(tried) == 1:
            raise ConnectionError("secret text")
        return msg

    flow = single(node, max_retries=2, backoff_base=0.01)
    client = await _client(house, flow, spans.tracing)
    await house.worker(flow, telemetry=spans.tracing)
    await client.round_trip(message(1), timeout=10)
    name = f"process pf.{client.log.flow}.only"
    await eventually(lambda: len(spans.named(name)) == 2)
    first, second = spans.named(name)
    assert first.parent.span_id == second.parent.span_id
    assert spans.outcomes(name) == ["retry", "ok"]
    assert first.status.status_code is StatusCode.ERROR
    assert first.attributes["error.type"] == "ConnectionError"
    assert second.status.status_code is StatusCode.UNSET
    assert [e.name for e in first.events] == ["exception", "node_retry"]
    assert second.attributes["penguiflow.attempt"] == 1
    await house.close()


async def test_a_killed_workers_input_comes_again_as_a_sibling(house: House) -> None:
    spans, gate = Spans(), Gate()
    flow = single(gate.node)
    client = await _client(house, flow, spans.tracing)
    dead = await house.worker(flow, telemetry=Spans().tracing, lease=LEASE)
    await client.emit(msg := message(1))
    await asyncio.wait_for(gate.started.wait(), 10)
    await house.kill(dead)
    gate.open.set()
    await house.worker(flow, telemetry=spans.tracing, lease=LEASE)
    await client.fetch(trace_id=msg.trace_id, timeout=30)
    name = f"process pf.{client.log.flow}.only"
    await eventually(lambda: spans.named(name))
    again = spans.one(name)
    assert again.attributes["nats.delivery_count"] >= 2
    assert parent_of(again) == spans.one(f"emit {client.log.flow}").context.span_id


async def test_a_dead_letter_is_published_under_the_run_that_failed(house: House) -> None:
    spans = Spans()

    async def node(msg: Message, ctx: Context) -> Message:
        raise ValueError("secret text")

    flow = single(node)
    client = await _client(house, flow, spans.tracing)
    await house.worker(flow, telemetry=spans.tracing)
    trace_id = await client.emit(message(1))
    with pytest.raises(FlowError):
        await client.fetch(trace_id=trace_id, timeout=20)
    name = client.log.flow
    await eventually(lambda: spans.named(f"process pf.{name}.only"))
    failed, letter = spans.one(f"process pf.{name}.only"), spans.one(f"publish pf.{name}.dlq")
    assert parent_of(letter) == failed.context.span_id
    assert failed.attributes["penguiflow.outcome"] == "failed"
    assert failed.status.status_code is StatusCode.ERROR
    assert letter.attributes["penguiflow.reason"] == "failed"


async def test_a_cancel_is_under_the_emit_and_what_it_ended_links_to_it(house: House) -> None:
    spans, gate = Spans(), Gate()
    flow = single(gate.node)
    client = await _client(house, flow, spans.tracing)
    await house.worker(flow, telemetry=spans.tracing)
    trace_id = await client.emit(message(1))
    await asyncio.wait_for(gate.started.wait(), 10)
    canceller = await _client(house, flow, spans.tracing)  # another process would know as little
    assert await canceller.cancel(trace_id)
    name = client.log.flow
    await eventually(lambda: spans.named(f"process pf.{name}.only"))
    ended, cancel = spans.one(f"process pf.{name}.only"), spans.one(f"cancel {name}")
    assert parent_of(cancel) == spans.one(f"emit {name}").context.span_id
    assert ended.attributes["penguiflow.outcome"] == "cancelled"
    assert ended.status.status_code is StatusCode.UNSET
    assert [link.context.span_id for link in ended.links] == [cancel.context.span_id]


async def test_a_deadline_that_passed_is_a_timeout() -> None:
    house, spans = MemoryHouse(), Spans()
    flow = single(square)
    client = await _client(house, flow, spans.tracing)
    await house.worker(flow, telemetry=spans.tracing)
    await client.round_trip(message(1, deadline_s=1.0), timeout=10)
    name = f"process pf.{client.log.flow}.only"
    await eventually(lambda: spans.named(name))
    span = spans.one(name)
    assert span.attributes["penguiflow.outcome"] == "expired"
    assert span.attributes["error.type"] == "timeout"
    await house.close()


async def test_a_sender_without_tracing_still_lands_in_the_same_trace(house: House) -> None:
    spans, flow = Spans(), single(square)
    client = await _client(house, flow, None)
    await house.worker(flow, telemetry=spans.tracing)
    await client.round_trip(msg := message(2), timeout=20)
    await eventually(lambda: spans.named(f"process pf.{client.log.flow}.only"))
    root = spans.one(f"process pf.{client.log.flow}.only")
    assert (trace_of(root), root.parent) == (msg.trace_id, None)


@pytest.mark.parametrize("trace_id", ["order-42", "0" * 32, "A" * 32, secrets.token_hex(20)])
async def test_an_id_of_any_form_is_one_trace_and_found_by_its_text(trace_id: str) -> None:
    house, spans, flow = MemoryHouse(), Spans(), single(square)
    client = await _client(house, flow, spans.tracing)
    await house.worker(flow, telemetry=spans.tracing)
    await client.round_trip(message(2, trace_id=trace_id), timeout=10)
    name = f"process pf.{client.log.flow}.only"
    await eventually(lambda: spans.named(name))
    assert {span.context.trace_id for span in spans.all} == {trace_number(trace_id)}
    assert {span.attributes["penguiflow.trace_id"] for span in spans.all} == {trace_id}
    await house.close()


async def test_what_a_node_does_is_under_its_span_and_nothing_ambient_is() -> None:
    house, spans = MemoryHouse(), Spans()
    tracer = spans.provider.get_tracer("app")

    async def node(msg: Message, ctx: Context) -> Message:
        with tracer.start_as_current_span("inner"):
            return answer(msg, "done")

    flow = single(node)
    client = await _client(house, flow, spans.tracing)
    with tracer.start_as_current_span("the start of the worker"):
        await house.worker(flow, telemetry=spans.tracing)
    await client.round_trip(message(1), timeout=10)
    name = f"process pf.{client.log.flow}.only"
    await eventually(lambda: spans.named(name))
    assert parent_of(spans.one("inner")) == spans.one(name).context.span_id
    assert not trace.get_current_span().get_span_context().is_valid
    await house.close()


async def test_a_join_that_waits_in_vain_ends_in_an_error_of_the_trace() -> None:
    house, spans = MemoryHouse(), Spans()

    async def branch(msg: Message, ctx: Context) -> Message:
        if msg.payload == 1:
            raise ValueError("lost")
        return msg

    first, middle = Node(split, policy=PLAIN), Node(branch, policy=PLAIN)
    join = join_k("join", 3)
    flow = create(first.to(middle), middle.to(join), join.to(), name="vain")
    client = await _client(house, flow, spans.tracing)
    await house.worker(flow, telemetry=spans.tracing)
    trace_id = await client.emit(message(3))
    with pytest.raises(FlowError):
        await client.fetch(trace_id=trace_id, timeout=20)
    name = f"publish pf.{client.log.flow}.join.record"
    await eventually(lambda: spans.named(name))
    assert spans.one(name).attributes["error.type"] == "JOIN_INCOMPLETE"
    assert trace_of(spans.one(name)) == trace_id
    await house.close()


async def test_an_entry_that_cannot_be_read_is_a_dead_letter_with_a_span(house: House) -> None:
    spans, flow = Spans(), single(square)
    client = await _client(house, flow, None)
    trace_id = secrets.token_hex(16)
    key = Key(Kind.INGRESS, trace_token(trace_id), input=secrets.token_hex(16))
    await client.log.append(key, b"\xc1 no envelope")
    await house.worker(flow, telemetry=spans.tracing)
    name = f"process pf.{client.log.flow}.only"
    await eventually(lambda: spans.named(name))
    dead = spans.one(name)
    assert dead.attributes["penguiflow.outcome"] == "dead_letter"
    assert trace_of(dead) == trace_id
    for operation in ("publish", "term"):
        template = f"pf.{client.log.flow}." + ("dlq" if operation == "publish" else "only")
        assert parent_of(spans.one(f"{operation} {template}")) == dead.context.span_id
