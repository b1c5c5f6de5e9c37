"""An A2A client, the service, the worker and the flow's nodes are one trace; operations count."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from a2a.types import a2a_pb2 as pb
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from penguiflow.telemetry import metric_names as m
from penguiflow_a2a import A2AService
from penguiflow_nats.board import NatsTaskBoard
from penguiflow_nats.server import EmbeddedServer
from tests.integration.a2a.agents import flow
from tests.integration.a2a.conftest import BINDINGS, Serve, card, served
from tests.integration.a2a.wire import Refused, collect, text
from tests.support.eventually import eventually
from tests.telemetry.metered import Metered
from tests.telemetry.spans import Spans, parent_of, trace_of

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CALLER}-01"
SEND = "lf.a2a.v1.A2AService/SendMessage"
STREAM = "lf.a2a.v1.A2AService/SendStreamingMessage"
GET = "lf.a2a.v1.A2AService/GetTask"


async def test_an_operation_is_a_server_span_under_its_caller(serve: Serve, binding: str) -> None:
    spans = Spans()
    wire = (await serve(telemetry=spans.tracing)).wire(binding)
    await wire.call("SendMessage", text("value"), traceparent=PARENT)
    await eventually(lambda: bool(spans.named("act")), 30.0)

    span = spans.one(SEND)
    assert span.kind is SpanKind.SERVER
    assert span.attributes["penguiflow.binding"] == binding
    assert span.attributes["rpc.system.name"] == "a2a"
    assert span.attributes["penguiflow.outcome"] == "ok"
    assert trace_of(span) == TRACE
    assert parent_of(span) == int(CALLER, 16)
    assert {trace_of(each) for each in spans.all} == {TRACE}
    by_id = {each.context.span_id: each for each in spans.all}
    above = [spans.one("act")]
    while (parent := parent_of(above[-1])) in by_id:
        above.append(by_id[parent])
    assert span in above


async def test_without_a_caller_an_operation_begins_a_trace(serve: Serve) -> None:
    spans = Spans()
    wire = (await serve(telemetry=spans.tracing)).wire("HTTP+JSON")
    await wire.call("SendMessage", text("value"))
    await eventually(lambda: bool(spans.named("act")), 30.0)
    assert parent_of(spans.one(SEND)) is None
    assert trace_of(spans.one("act")) == trace_of(spans.one(SEND))


async def test_what_the_caller_did_wrong_is_no_error_of_the_service(
    serve: Serve, binding: str
) -> None:
    spans = Spans()
    wire = (await serve(telemetry=spans.tracing)).wire(binding)
    with pytest.raises(Refused):
        await wire.call("GetTask", pb.GetTaskRequest(id="nothing"))
    span = spans.one(GET)
    assert span.attributes["penguiflow.outcome"] == "refused"
    assert span.attributes["error.type"].endswith("TaskNotFoundError")
    assert span.status.status_code is StatusCode.UNSET


async def test_a_fault_of_the_service_is_an_error(serve: Serve, binding: str) -> None:
    spans = Spans()
    site = await serve(telemetry=spans.tracing)
    await site.service.start()

    async def broken(*args: Any, **kwargs: Any) -> Any:
        raise ConnectionError

    site.service.board.look = broken
    with pytest.raises(Refused):
        await site.wire(binding).call("GetTask", pb.GetTaskRequest(id="any"))
    span = spans.one(GET)
    assert span.attributes["penguiflow.outcome"] == "failed"
    assert span.status.status_code is StatusCode.ERROR


async def test_operations_count_by_binding_and_streams_while_they_are_open(
    serve: Serve, binding: str
) -> None:
    metered = Metered()
    wire = (await serve(telemetry=metered.metrics)).wire(binding)
    await wire.call("SendMessage", text("value"))
    with pytest.raises(Refused):
        await wire.call("GetTask", pb.GetTaskRequest(id="nothing"))
    assert metered.total(m.SERVED, method=SEND, binding=binding, outcome="ok") == 1
    assert metered.total(m.SERVED, method=GET, binding=binding, outcome="refused") == 1

    await collect(wire, "SendStreamingMessage", text("chunks 3"))
    await eventually(lambda: metered.total(m.SERVED, method=STREAM, outcome="ok") == 1, 30.0)
    assert metered.total(m.OPEN_STREAMS, binding=binding) == 0
    events = wire.stream("SendStreamingMessage", text("slow 60"))
    first = await anext(events)
    assert metered.total(m.OPEN_STREAMS, method=STREAM, binding=binding) == 1
    await events.aclose()
    await eventually(lambda: metered.total(m.OPEN_STREAMS, binding=binding) == 0, 30.0)
    await wire.call("CancelTask", pb.CancelTaskRequest(id=first.task.id))


async def test_a_worker_in_another_replica_is_in_the_trace(server: EmbeddedServer) -> None:
    front, back = Spans(), Spans()
    async with AsyncExitStack() as stack:
        sites = [
            await stack.enter_async_context(
                served(
                    A2AService(
                        flow(),
                        agent_card=card(streaming=True),
                        store=NatsTaskBoard(server.url, agent="apart"),
                        works=works,
                        telemetry=spans.tracing,
                    )
                )
            )
            for works, spans in ((False, front), (True, back))
        ]
        await sites[0].wire("GRPC").call("SendMessage", text("value"), traceparent=PARENT)
        await eventually(lambda: bool(back.named("act")), 30.0)
        await eventually(lambda: bool(back.named("apart/task")), 30.0)
    assert [span.name for span in front.all] == [SEND]
    worker = back.one("apart/task")
    assert parent_of(worker) == front.one(SEND).context.span_id
    assert {trace_of(span) for span in back.all} == {TRACE}


async def test_what_a_function_calls_goes_on_from_its_operation(serve: Serve) -> None:
    spans, seen = Spans(), []

    async def agent(message: Any, ctx: Any) -> str:
        seen.append((ctx.traceparent, f"{get_current_span().get_span_context().trace_id:032x}"))
        await asyncio.sleep(0)
        return "done"

    wire = (await serve(agent=agent, telemetry=spans.tracing)).wire(BINDINGS[0])
    await wire.call("SendMessage", text("value"), traceparent=PARENT)
    ((traceparent, current),) = seen
    assert traceparent.split("-")[1] == TRACE
    assert traceparent != PARENT
    assert current == TRACE
