"""Auto-instrumentation beside ours: neither changes the other's spans."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor
from opentelemetry.sdk.trace import ReadableSpan

from penguiflow import Context, Message, Node, create
from penguiflow.durable.client import DurableClient
from tests.contract.engine.flows import PLAIN, message
from tests.contract.engine.houses import House
from tests.support.eventually import eventually
from tests.telemetry.spans import Spans, trace_of


async def ours_or_theirs(number: int) -> int:
    """A coroutine that the instrumentation is told to trace."""
    return number


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """A provider that asyncio's instrumentation and ours make spans with."""
    made = Spans()
    monkeypatch.setenv("OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE", "ours_or_theirs")
    instrumentor = AsyncioInstrumentor()
    instrumentor.instrument(tracer_provider=made.provider)
    yield made
    instrumentor.uninstrument()


def _own(span: ReadableSpan) -> bool:
    return "penguiflow.trace_id" in (span.attributes or {})


async def test_the_trace_is_as_without_it_and_what_it_traces_is_in_it(
    spans: Spans, house: House
) -> None:
    async def node(msg: Message, ctx: Context) -> Message:
        await asyncio.gather(ours_or_theirs(1), ours_or_theirs(2))
        return msg

    flow = create(Node(node, name="only", policy=PLAIN).to(), name="instrumented")
    log = await house.log(flow)
    client = DurableClient(flow, log, telemetry=spans.tracing)
    await client.start()
    await house.worker(flow, telemetry=spans.tracing)
    await client.round_trip(msg := message(1), timeout=20)
    await eventually(lambda: spans.named(f"process pf.{log.flow}.only"))
    own = [span for span in spans.all if _own(span)]
    assert sorted(span.name for span in own) == [
        f"emit {log.flow}",
        f"process pf.{log.flow}.only",
        f"publish pf.{log.flow}.egress",
    ]
    assert {trace_of(span) for span in own} == {msg.trace_id}
    assert [span.name for span in own if span.parent is None] == [f"emit {log.flow}"]
    theirs = [span for span in spans.all if span.name == "asyncio coro-ours_or_theirs"]
    process = spans.one(f"process pf.{log.flow}.only")
    assert len(theirs) == 2
    assert {span.parent.span_id for span in theirs if span.parent} == {process.context.span_id}
    assert {trace_of(span) for span in theirs} == {msg.trace_id}
