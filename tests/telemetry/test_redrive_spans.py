"""A redrive begins a trace of its own that links to the run whose input became a dead letter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from penguiflow.durable.dead_letters import Selection
from penguiflow.durable.log import LogUnavailable
from penguiflow.durable.redrive import Redriven, Redriver
from penguiflow.durable.topology import Topology
from penguiflow.telemetry.together import Instruments
from penguiflow_nats import redriver
from penguiflow_nats.letter_box import LetterBox
from penguiflow_nats.server import EmbeddedServer
from tests.integration.redrive.desk import Desk, Sickness, opened
from tests.support.eventually import eventually
from tests.support.flows import chain, node
from tests.telemetry.metered import Metered
from tests.telemetry.spans import Spans, parent_of, trace_of


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as started:
        yield started


async def _redriven(own: Redriver) -> tuple[str, Redriven]:
    (plan,) = await own.plan(Selection())
    assert plan.unit is not None
    (done,) = [each async for each in own.redrive([plan])]
    return plan.unit.new_trace, done.outcome


async def test_a_redrive_links_to_the_dead_run(server: EmbeddedServer) -> None:
    sick, spans = Sickness(), Spans()
    flow = chain(node(sick.treat, "sick", max_retries=0), name="linked")
    flow.telemetry = spans.tracing
    async with opened(flow, server.url) as desk, redriver(flow, server.url) as own:
        old = await desk.fail("work")
        sick.is_ill = False
        new, _ = await _redriven(own)
        await desk.client.fetch(trace_id=new, timeout=30)
        await eventually(lambda: len(spans.named("process pf.linked-1.sick")) == 2)
    first, again = spans.named("emit linked-1")
    died, healed = spans.named("process pf.linked-1.sick")
    assert (trace_of(first), trace_of(again)) == (old, new)
    assert parent_of(died) == first.context.span_id
    assert [link.context.span_id for link in again.links] == [first.context.span_id]
    assert (again.parent, parent_of(healed)) == (None, again.context.span_id)
    assert healed.attributes["penguiflow.outcome"] == "ok"


async def test_a_redrive_of_what_was_not_traced_has_no_link(server: EmbeddedServer) -> None:
    sick, spans, metered = Sickness(), Spans(), Metered()
    flow = chain(node(sick.treat, "sick", max_retries=0), name="plain")
    both = Instruments([spans.tracing, metered.metrics])
    async with opened(flow, server.url) as desk:
        await desk.fail("work")
        async with redriver(flow, server.url, telemetry=both) as own:
            await _redriven(own)
    assert not spans.one("emit plain-1").links
    assert metered.points()["messaging.client.sent.messages"][0].value == 1


class CutOff(LetterBox):
    """Loses its server after the submission was written."""

    async def start(self, *args: Any) -> int:
        raise LogUnavailable("gone")


async def test_who_completes_a_redrive_goes_on_in_its_submission(server: EmbeddedServer) -> None:
    sick, first, second = Sickness(), Spans(), Spans()
    flow = chain(node(sick.treat, "sick", max_retries=0), name="cut")
    flow.telemetry = second.tracing
    async with opened(flow, server.url) as desk, redriver(flow, server.url) as own:
        await desk.fail("work")
        sick.is_ill = False
        cut = _cut_off(desk, first)
        with pytest.raises(LogUnavailable):
            await _redriven(cut)
        new, outcome = await _redriven(own)
        assert outcome is Redriven.COMPLETED
        await desk.client.fetch(trace_id=new, timeout=30)
        await eventually(lambda: len(second.named("process pf.cut-1.sick")) == 2)
    process = second.named("process pf.cut-1.sick")[-1]
    assert parent_of(process) == first.one("emit cut-1").context.span_id
    assert second.named("emit cut-1")[-1].attributes["penguiflow.outcome"] == "duplicate"


def _cut_off(desk: Desk, spans: Spans) -> Redriver:
    box = CutOff(desk.log.connection)
    topology = Topology(desk.flow.graph)
    return Redriver(desk.log, box, topology, desk.codec, telemetry=spans.tracing)
