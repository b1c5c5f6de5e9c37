"""Sampling: one decision where a message is emitted, followed everywhere, in the right share."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased

from penguiflow import Context, Message
from penguiflow.durable.client import DurableClient
from penguiflow.durable.envelope import decode
from penguiflow.durable.tokens import trace_token
from penguiflow.durable.topology import everything
from penguiflow.telemetry import FlowPlace, Tracing, setup
from penguiflow.types import new_trace_id
from tests.contract.engine.flows import message, single
from tests.contract.engine.houses import MemoryHouse
from tests.telemetry.spans import Spans


def _light(sampler: Any) -> tuple[Any, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    return setup("test", exporter=exporter, sampler=sampler), exporter


@pytest.mark.parametrize("kind", ["the SDK's tracer", "ours"])
def test_a_ratio_sampler_keeps_its_share_of_our_trace_ids(kind: str) -> None:
    sampler = ParentBased(TraceIdRatioBased(0.1))
    if kind == "ours":
        tracing: Any = _light(sampler)[0]
    else:
        tracing = Tracing(trace_provider := Spans(sampler=sampler).provider)
        assert trace_provider is not trace.get_tracer_provider()
    flow = tracing.flow(FlowPlace(flow="share"))
    count = 20_000
    kept = sum(flow.emitted(new_trace_id()).recording for _ in range(count))
    assert abs(kept / count - 0.1) < 0.01


@pytest.mark.parametrize("kind", ["the SDK's tracer", "ours"])
async def test_what_was_not_sampled_is_handed_on_verbatim_without_a_span(kind: str) -> None:
    house, seen = MemoryHouse(), []
    kept: Any
    if kind == "ours":
        worker_tracing, kept = _light(ParentBased(ALWAYS_ON))
    else:
        spans = Spans(sampler=ParentBased(ALWAYS_ON))
        worker_tracing, kept = spans.tracing, spans._exporter

    async def node(msg: Message, ctx: Context) -> Message:
        seen.append(trace.get_current_span().get_span_context())
        return msg

    flow = single(node)
    log = await house.log(flow)
    client = DurableClient(flow, log, telemetry=Spans(sampler=ParentBased(ALWAYS_OFF)).tracing)
    await client.start()
    await house.worker(flow, telemetry=worker_tracing)
    await client.round_trip(msg := message(1), timeout=10)
    entries = await log.read(everything(trace_token(msg.trace_id)))
    carried = {decode(entry.data).traceparent for entry in entries}
    assert len(carried) == 1
    assert str(carried.pop()).endswith("-00")
    assert not kept.get_finished_spans()
    # The node's own spans would follow: a sampler sees that the trace is not kept.
    assert (seen[0].is_valid, seen[0].trace_flags.sampled) == (True, False)
    await house.close()


async def test_a_sampler_that_asks_nobody_is_asked_for_every_span() -> None:
    house, spans = MemoryHouse(), Spans(sampler=ALWAYS_ON)
    flow = single(_pass_on)
    log = await house.log(flow)
    client = DurableClient(flow, log, telemetry=Spans(sampler=ALWAYS_OFF).tracing)
    await client.start()
    await house.worker(flow, telemetry=spans.tracing)
    await client.round_trip(message(1), timeout=10)
    await house.close()
    assert spans.named(f"process pf.{log.flow}.only")


async def _pass_on(msg: Message, ctx: Context) -> Message:
    return msg
