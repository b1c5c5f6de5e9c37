"""A task that somebody else follows, or that is started and looked at, is observed as a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from penguiflow import Message
from penguiflow.remote import RemoteCallRequest
from penguiflow.telemetry.calls import following, tell
from penguiflow.telemetry.together import Instruments
from penguiflow_nats.agent import AgentContext, Chunk, Skill, serve
from penguiflow_nats.call_errors import UnknownTask
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport
from tests.contract.engine.flows import message
from tests.support.eventually import eventually
from tests.telemetry.metered import Metered
from tests.telemetry.spans import Spans, parent_of, trace_of

URL = "nats://talker"
NAME = "talker/speak"


async def speak(msg: Message, ctx: AgentContext) -> AsyncIterator[Any]:
    for text in ("one", "two", "three"):
        yield Chunk(text)


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with (
        EmbeddedServer() as running,
        serve(None, running.url, agent="talker", skills=[Skill("speak", speak)]),
    ):
        yield running


def request(**fields: Any) -> RemoteCallRequest:
    return RemoteCallRequest(message=message("x"), skill="speak", agent_url=URL, **fields)


async def test_a_stream_that_is_resumed_goes_on_in_its_trace(server: EmbeddedServer) -> None:
    first, second, metered = Spans(), Spans(), Metered()
    both = Instruments([second.tracing, metered.metrics])
    async with (
        NatsTransport(server.url, telemetry=first.tracing) as caller,
        NatsTransport(server.url, telemetry=both) as other,
    ):
        stream = caller.stream(asked := request())
        async for event in stream:
            if event.text:
                break
        await stream.aclose()
        texts = []
        resumed = other.resume(agent_url=URL, task_id=str(event.task_id), after=event.position)
        async for each in resumed:
            assert not trace.get_current_span().get_span_context().is_valid
            if each.text:
                texts.append(each.text)
    assert texts == ["two", "three"]
    call, again = first.one(NAME), second.one(NAME)
    assert (trace_of(again), again.kind) == (asked.message.trace_id, SpanKind.CLIENT)
    assert parent_of(again) == call.context.span_id
    assert [each.name for each in again.events] == ["resume", "first_chunk"]
    assert again.attributes["penguiflow.outcome"] == "ok"
    assert again.attributes["penguiflow.trace_id"] == asked.message.trace_id
    assert metered.points()["penguiflow.stream.resumes"][0].value == 1
    assert metered.points()["penguiflow.stream.chunks"][0].value == 2
    assert metered.points()["penguiflow.remote.in_flight"][0].value == 0


@pytest.mark.parametrize("blocking", [True, False])
async def test_a_task_that_is_started_is_one_call(server: EmbeddedServer, blocking: bool) -> None:
    spans, agent = Spans(), Spans()
    async with (
        serve(
            None, server.url, agent="seen", skills=[Skill("speak", speak)], telemetry=agent.tracing
        ),
        NatsTransport(server.url, telemetry=spans.tracing) as transport,
    ):
        asked = request()
        asked.agent_url = "nats://seen"
        await transport.send_task(asked, blocking=blocking)
        await eventually(lambda: agent.named("seen/speak"))
    call = spans.one("seen/speak")
    assert parent_of(agent.one("seen/speak")) == call.context.span_id
    assert trace_of(call) == asked.message.trace_id
    assert asked.traceparent is None


async def test_a_task_that_is_subscribed_to_is_one_call(server: EmbeddedServer) -> None:
    asked_for = asyncio.Event()

    async def wait(msg: Message, ctx: AgentContext) -> AsyncIterator[Any]:
        await asked_for.wait()
        yield Chunk("said")

    first, second = Spans(), Spans()
    async with (
        serve(None, server.url, agent="slow", skills=[Skill("speak", wait)]),
        NatsTransport(server.url, telemetry=first.tracing) as caller,
        NatsTransport(server.url, telemetry=second.tracing) as other,
    ):
        started = await caller.send_task(
            RemoteCallRequest(message=message("x"), skill="speak", agent_url="nats://slow")
        )
        events = other.subscribe_task(agent_url="nats://slow", task_id=started.task_id)
        async for _ in events:
            asked_for.set()
    again = second.one("slow/speak")
    assert parent_of(again) == first.one("slow/speak").context.span_id
    assert again.attributes["penguiflow.stream.chunks"] == 1
    assert "resume" in [each.name for each in again.events]


async def test_following_what_is_not_there_is_an_error_of_the_span(server: EmbeddedServer) -> None:
    spans = Spans()
    async with NatsTransport(server.url, telemetry=spans.tracing) as transport:
        with pytest.raises(UnknownTask):
            async for _ in transport.resume(agent_url=URL, task_id="nobody"):
                pass
    span = spans.one("talker/unknown")
    assert span.attributes["penguiflow.outcome"] == "failed"
    assert "penguiflow.trace_id" not in span.attributes


def test_who_follows_within_a_span_is_under_it_and_links_to_the_call() -> None:
    spans, made = Spans(), request(traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    probe: Any = spans.tracing.calls()
    tracer = spans.provider.get_tracer("web")
    with tracer.start_as_current_span("page"), following(probe, made, attempt=3) as span:
        tell(probe, span, _status({"restart": True, "epoch": 4}))
        tell(probe, span, _status({"epoch": 4}))
    call = spans.one(NAME)
    assert parent_of(call) == spans.one("page").context.span_id
    assert [link.context.span_id for link in call.links] == [int("b" * 16, 16)]
    assert [event.attributes["penguiflow.attempt"] for event in call.events] == [3, 4]


def _status(meta: dict[str, Any]) -> Any:
    from penguiflow.remote_models import RemoteTaskEvent

    return RemoteTaskEvent("status", task_id="t", agent_url=URL, meta=meta)
