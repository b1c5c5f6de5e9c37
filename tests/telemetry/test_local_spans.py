"""The span model of a flow that runs in this process, and what is around an emit."""

from __future__ import annotations

import asyncio
import logging

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from penguiflow import Context, Message, Node, NodePolicy, create
from penguiflow.metrics import FlowEvent
from penguiflow.patterns import join_k
from penguiflow.telemetry import Instruments, SpanIds, joined
from tests.contract.engine.flows import PLAIN, Gate, message, single, square
from tests.support.eventually import eventually
from tests.telemetry.metered import Metered
from tests.telemetry.spans import Spans, parent_of, trace_of


async def test_runs_are_under_the_run_that_sent_them() -> None:
    spans = Spans()
    first, second = Node(square, name="a", policy=PLAIN), Node(square, name="b", policy=PLAIN)
    flow = create(first.to(second), second.to(), name="local", telemetry=spans.tracing)
    flow.run()
    await flow.emit(msg := message(2))
    await flow.fetch()
    await flow.stop()
    found = [spans.one(name) for name in ("emit local", "a", "b")]
    assert [span.kind for span in found] == [SpanKind.INTERNAL] * 3
    assert parent_of(found[0]) is None
    assert parent_of(found[1]) == found[0].context.span_id
    assert parent_of(found[2]) == found[1].context.span_id
    assert {trace_of(span) for span in found} == {msg.trace_id}
    assert not any("messaging.system" in span.attributes for span in found)


async def test_attempts_retries_and_failures_are_told_apart() -> None:
    spans = Spans()

    async def node(msg: Message, ctx: Context) -> Message:
        raise ValueError("no")

    flow = single(node, max_retries=1, backoff_base=0.001, errors=True)
    flow.telemetry = spans.tracing
    flow.run()
    await flow.emit(message(1))
    await flow.fetch()
    await flow.stop()
    assert spans.outcomes("only") == ["retry", "failed"]
    assert {span.status.status_code for span in spans.named("only")} == {StatusCode.ERROR}


async def test_a_cancelled_run_is_no_success_and_no_error() -> None:
    spans, gate = Spans(), Gate()
    flow = single(gate.node)
    flow.telemetry = spans.tracing
    flow.run()
    await flow.emit(msg := message(1))
    await asyncio.wait_for(gate.started.wait(), 10)
    assert await flow.cancel(msg.trace_id)
    await eventually(lambda: spans.named("only"))
    await flow.stop()
    run, cancel = spans.one("only"), spans.one("cancel single")
    assert run.attributes["penguiflow.outcome"] == "cancelled"
    assert run.status.status_code is StatusCode.UNSET
    assert [link.context.span_id for link in run.links] == [cancel.context.span_id]
    assert trace_of(cancel) == msg.trace_id
    assert parent_of(cancel) is not None


async def test_an_emit_within_a_foreign_span_begins_its_own_trace_with_a_link() -> None:
    spans = Spans()
    flow = single(square, name="inner")
    flow.telemetry = spans.tracing
    flow.run()
    with spans.provider.get_tracer("web").start_as_current_span("request") as request:
        await flow.emit(msg := message(1))
    await flow.fetch()
    await flow.stop()
    emit = spans.one("emit inner")
    assert (trace_of(emit), parent_of(emit)) == (msg.trace_id, None)
    assert [link.context for link in emit.links] == [request.get_span_context()]


@pytest.mark.parametrize("how", ["option", "block"])
async def test_an_emit_joins_the_trace_around_it_on_request(how: str) -> None:
    spans = Spans(join_ambient=how == "option")
    flow = single(square, name="inner")
    flow.telemetry = spans.tracing
    flow.run()
    with spans.provider.get_tracer("web").start_as_current_span("request") as request:
        if how == "option":
            await flow.emit(msg := message(1))
        else:
            with joined():
                await flow.emit(msg := message(1))
    await flow.fetch()
    await flow.stop()
    run = spans.one("only")
    assert parent_of(spans.one("emit inner")) == request.get_span_context().span_id
    assert run.context.trace_id == request.get_span_context().trace_id
    assert run.attributes["penguiflow.trace_id"] == msg.trace_id


async def test_a_subflow_is_part_of_the_trace_that_calls_it() -> None:
    spans = Spans()
    inner = single(square, name="sub")

    async def outer(msg: Message, ctx: Context) -> int:
        return int(await ctx.call_playbook(lambda: (inner, None), msg))

    flow = create(Node(outer, policy=PLAIN).to(), telemetry=spans.tracing)
    flow.run()
    await flow.emit(msg := message(3))
    assert await flow.fetch() == 9
    await flow.stop()
    assert {trace_of(span) for span in spans.all} == {msg.trace_id}
    assert parent_of(spans.one("emit sub")) == spans.one("outer").context.span_id


async def test_runs_that_share_a_task_do_not_see_each_others_span() -> None:
    spans, seen = Spans(), []

    async def node(msg: Message, ctx: Context) -> Message:
        before = trace.get_current_span().get_span_context().span_id
        await asyncio.sleep(0)
        seen.append((before, trace.get_current_span().get_span_context().span_id))
        return msg

    policy = NodePolicy(validate="none", concurrency=2)
    flow = create(Node(node, policy=policy).to(), telemetry=spans.tracing)
    flow.run()
    for number in range(4):
        await flow.emit(message(number))
    for _ in range(4):
        await flow.fetch()
    await flow.stop()
    ids = {span.context.span_id for span in spans.named("node")}
    assert all(before == after for before, after in seen)
    assert {before for before, _ in seen} == ids
    assert len(ids) == 4


async def test_events_and_log_records_name_their_span() -> None:
    spans, records, told = Spans(), [], []
    logger = logging.getLogger("tests.telemetry.node")
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    handler.addFilter(SpanIds())
    logger.addHandler(handler)

    async def node(msg: Message, ctx: Context) -> Message:
        logger.warning("from within")
        return msg

    async def middleware(event: object) -> None:
        told.append(event)

    flow = create(Node(node, policy=PLAIN).to(), telemetry=spans.tracing, middlewares=[middleware])
    flow.run()
    await flow.emit(msg := message(1))
    await flow.fetch()
    await flow.stop()
    logger.removeHandler(handler)
    own = f"{spans.one('node').context.span_id:016x}"
    assert (records[0].otelTraceID, records[0].otelSpanID) == (msg.trace_id, own)
    of_node = [event for event in told if event.event_type in ("node_start", "node_success")]
    assert [event.extra["span_id"] for event in of_node] == [own, own]


@pytest.mark.parametrize("group", [2, 3])
async def test_a_local_join_links_to_the_runs_that_brought_its_other_messages(group: int) -> None:
    spans, metered = Spans(), Metered()
    join = join_k("join", group)
    flow = create(join.to(), telemetry=Instruments([spans.tracing, metered.metrics]))
    flow.run()
    msg = message(1)
    for _ in range(2 * group):
        await flow.emit(msg)
    await flow.fetch()
    await flow.fetch()
    await flow.stop()
    runs = spans.named("join")
    for first in (0, group):
        *others, last = runs[first : first + group]
        links = [link.context.span_id for link in last.links]
        assert links == [run.context.span_id for run in others]
        assert last.attributes["messaging.batch.message_count"] == group
        assert not any(run.links for run in others)


async def test_a_local_join_whose_time_is_up_forgets_its_runs() -> None:
    spans = Spans()
    join = join_k("join", 2, timeout_s=0.05)
    failed = asyncio.Event()

    async def watch(event: FlowEvent) -> None:
        if event.event_type == "node_failed":
            failed.set()

    flow = create(
        join.to(), telemetry=spans.tracing, emit_errors_to_rookery=True, middlewares=[watch]
    )
    flow.run()
    await flow.emit(msg := message(1))
    async with asyncio.timeout(30):
        await failed.wait()
    for _ in range(3):  # the first is late
        await flow.emit(msg)
    assert await flow.fetch()
    assert await flow.fetch()
    await flow.stop()
    runs = spans.named("join")
    assert [len(run.links) for run in runs] == [0, 0, 0, 1]
    assert runs[3].links[0].context.span_id == runs[2].context.span_id
