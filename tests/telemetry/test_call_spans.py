"""One client span for a remote call, one server span under it, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from penguiflow import Message, create
from penguiflow.remote import RemoteCallRequest, RemoteNode
from penguiflow.remote_tasks import RemoteTaskFailed
from penguiflow.telemetry.calls import observed, tell
from penguiflow_nats.agent import AgentContext, Chunk, Skill, serve
from penguiflow_nats.answer import NatsStreamEvent
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport
from tests.contract.engine.flows import PLAIN, answer, message, single, square
from tests.support.eventually import eventually
from tests.telemetry.spans import Spans, parent_of, trace_of


async def speak(msg: Message, ctx: AgentContext) -> AsyncIterator[Any]:
    for text in ("one", "two", "three"):
        yield Chunk(text)


async def fail(msg: Message, ctx: AgentContext) -> None:
    raise ValueError("secret text")


async def echo(msg: Message, ctx: AgentContext) -> Any:
    return {"traceparent": ctx.traceparent}


SKILLS = [Skill("speak", speak), Skill("fail", fail), Skill("echo", echo)]


def request(skill: str, **fields: Any) -> RemoteCallRequest:
    return RemoteCallRequest(
        message=message("x"), skill=skill, agent_url="nats://default/talker", **fields
    )


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as running:
        yield running


async def test_a_stream_is_one_client_and_one_server_span(server: EmbeddedServer) -> None:
    spans = Spans()
    async with (
        serve(None, server.url, agent="talker", skills=SKILLS, telemetry=spans.tracing),
        NatsTransport(server.url, telemetry=spans.tracing) as transport,
    ):
        asked = request("speak")
        async for _ in transport.stream(asked):
            assert not trace.get_current_span().get_span_context().is_valid
        await eventually(lambda: len(spans.named("talker/speak")) == 2)
    assert asked.traceparent is None  # the caller's own request is as it was
    server_span, client = sorted(spans.named("talker/speak"), key=lambda span: span.kind.value)
    assert (server_span.kind, client.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert parent_of(server_span) == client.context.span_id
    assert trace_of(client) == asked.message.trace_id
    assert [event.name for event in client.events] == ["first_chunk"]
    assert client.attributes["penguiflow.stream.chunks"] == 3
    assert client.attributes["gen_ai.agent.name"] == "talker"
    assert client.attributes["penguiflow.outcome"] == "ok"


async def test_a_reader_that_stops_leaves_no_span_behind(server: EmbeddedServer) -> None:
    spans = Spans()
    async with (
        serve(None, server.url, agent="talker", skills=SKILLS),
        NatsTransport(server.url, telemetry=spans.tracing) as transport,
    ):
        stream = transport.stream(request("speak"))
        async for event in stream:
            if event.text:
                break
        assert not trace.get_current_span().get_span_context().is_valid
        await stream.aclose()
    assert spans.outcomes("talker/speak") == ["abandoned"]
    assert spans.one("talker/speak").status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("durable", [True, False])
async def test_a_call_that_fails_is_an_error_on_both_sides(
    server: EmbeddedServer, durable: bool
) -> None:
    caller, agent = Spans(), Spans()
    async with (
        serve(None, server.url, agent="talker", skills=SKILLS, telemetry=agent.tracing),
        NatsTransport(server.url, durable=durable, telemetry=caller.tracing) as transport,
    ):
        with pytest.raises(RemoteTaskFailed):
            await transport.send(request("fail"))
        await eventually(lambda: agent.named("talker/fail"))
    for spans in (caller, agent):
        span = spans.one("talker/fail")
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["penguiflow.outcome"] == "failed"
    assert agent.one("talker/fail").attributes["error.type"] == "HANDLER_EXCEPTION"


async def test_a_handler_goes_on_from_the_server_span(server: EmbeddedServer) -> None:
    spans = Spans()
    async with (
        serve(None, server.url, agent="talker", skills=SKILLS, telemetry=spans.tracing),
        NatsTransport(server.url) as transport,
    ):
        result = await transport.send(request("echo"))
        await eventually(lambda: spans.named("talker/echo"))
    own = spans.one("talker/echo").context
    assert result.result["traceparent"] == f"00-{own.trace_id:032x}-{own.span_id:016x}-01"


async def test_a_caller_that_carries_a_context_is_not_observed_twice(
    server: EmbeddedServer,
) -> None:
    spans = Spans()
    transport = NatsTransport(server.url, telemetry=spans.tracing)
    node = RemoteNode(
        transport=transport, skill="echo", agent_url="nats://talker", name="ask", policy=PLAIN
    )
    flow = create(node.to(), telemetry=spans.tracing)
    async with serve(None, server.url, agent="talker", skills=SKILLS), transport:
        flow.run()
        await flow.emit(msg := message("x"))
        await flow.fetch()
        await flow.stop()
    call = spans.one("talker/echo")
    assert parent_of(call) == spans.one("ask").context.span_id
    assert trace_of(call) == msg.trace_id


async def test_a_flow_behind_an_agent_is_in_the_callers_trace(server: EmbeddedServer) -> None:
    spans = Spans()
    inner = single(square, name="inside")
    inner.telemetry = spans.tracing
    async with (
        serve(inner, server.url, agent="squarer", telemetry=spans.tracing),
        NatsTransport(server.url, telemetry=spans.tracing) as transport,
    ):
        asked = RemoteCallRequest(
            message=answer(message(1), 4), skill="inside", agent_url="nats://squarer"
        )
        await transport.send(asked)
        await eventually(lambda: len(spans.named("squarer/inside")) == 2)
    assert {trace_of(span) for span in spans.all} == {asked.message.trace_id}
    assert [span.name for span in spans.all if span.parent is None] == ["squarer/inside"]


async def test_a_cancelled_task_is_no_error_of_the_agent(server: EmbeddedServer) -> None:
    spans = Spans()

    async def wait(msg: Message, ctx: AgentContext) -> AsyncIterator[Any]:
        yield Chunk("began")
        await asyncio.Event().wait()

    skills = [Skill("wait", wait)]
    async with (
        serve(None, server.url, agent="talker", skills=skills, telemetry=spans.tracing),
        NatsTransport(server.url) as transport,
    ):
        stream = transport.stream(request("wait"))
        async for event in stream:
            if event.text:
                break
        await transport.cancel(agent_url="nats://talker", task_id=str(event.task_id))
        await eventually(lambda: spans.named("talker/wait"), timeout=20)
        await stream.aclose()
    span = spans.one("talker/wait")
    assert span.attributes["penguiflow.outcome"] == "cancelled"
    assert span.status.status_code is StatusCode.UNSET


async def test_a_call_whose_time_is_up_is_a_timeout_of_the_agent(server: EmbeddedServer) -> None:
    spans = Spans()

    async def wait(msg: Message, ctx: AgentContext) -> None:
        await asyncio.Event().wait()

    async with (
        serve(
            None, server.url, agent="talker", skills=[Skill("wait", wait)], telemetry=spans.tracing
        ),
        NatsTransport(server.url, telemetry=spans.tracing) as transport,
    ):
        with pytest.raises((TimeoutError, RemoteTaskFailed)):
            await transport.send(request("wait", timeout_s=0.3))
        await eventually(lambda: len(spans.named("talker/wait")) == 2, timeout=20)
    assert {span.status.status_code for span in spans.named("talker/wait")} == {StatusCode.ERROR}
    (served,) = [span for span in spans.named("talker/wait") if span.kind is SpanKind.SERVER]
    assert served.attributes["error.type"] == "timeout"


def test_a_stream_that_another_replica_takes_over_says_so() -> None:
    spans = Spans()
    probe: Any = spans.tracing.calls()
    with observed(probe, request("speak"), streaming=True) as (_, span):
        for event in (
            NatsStreamEvent(text="a"),
            NatsStreamEvent(text="", restarted=True, meta={"epoch": 2}),
            NatsStreamEvent(text="bc"),
        ):
            tell(probe, span, event)
    call = spans.one("talker/speak")
    assert [event.name for event in call.events] == ["first_chunk", "resume"]
    assert call.events[1].attributes["penguiflow.attempt"] == 2
    assert call.attributes["penguiflow.stream.characters"] == 3


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("nats://summary", "summary/echo"),
        ("nats://tenant/summary", "summary/echo"),
        (
            "https://user:secret@agents.example:8443/summary?key=secret",
            "agents.example/summary/echo",
        ),
        ("http://[broken", "unknown/echo"),
    ],
)
def test_an_address_is_shown_without_its_credentials(address: str, name: str) -> None:
    spans = Spans()
    asked = RemoteCallRequest(message=message("x"), skill="echo", agent_url=address)
    with observed(spans.tracing.calls(), asked, streaming=False):
        pass
    assert "secret" not in spans.one(name).to_json()
    is_named = address.startswith("https:")
    there = ("agents.example", 8443) if is_named else (None, None)
    attributes = spans.one(name).attributes
    assert (attributes.get("server.address"), attributes.get("server.port")) == there
