"""Requests, answers and results that are larger than a message."""

from __future__ import annotations

import pytest

from penguiflow.remote import RemoteTaskFailed, RemoteTaskInputRequired
from penguiflow_nats import call_claims
from penguiflow_nats.agent import Result, Skill, serve
from penguiflow_nats.call_subjects import CallNames
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import PayloadTooLarge
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.object_errors import ObjectTooLarge
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.transport import NatsTransport
from tests.integration.remote.calls import AGENT, eventually, messages, request

MB = 1024 * 1024
LARGE = "0123456789abcdef" * (10 * MB // 16)


async def length(message, ctx):
    return len(message.payload)


async def grow(message, ctx):
    yield "growing"
    yield Result("x" * message.payload)


async def doubled(message, ctx):
    return len(message.payload) + len(await ctx.ask("more?"))


async def bore(message, ctx):
    await ctx.ask("x" * message.payload)


async def shout(message, ctx):
    await ctx.emit("x" * message.payload)


SKILLS = [Skill(each.__name__, each) for each in (length, grow, doubled, bore, shout)]


def serving(server: EmbeddedServer, **options):
    return serve(None, server.url, agent="tester", skills=SKILLS, **options)


async def objects(server: EmbeddedServer) -> set[str]:
    """The objects and chunks that there are; a removed object leaves its marker for a while."""
    names = CallNames("default")
    async with await Connection.open(ConnectionSettings(servers=(server.url,))) as connection:
        stream = f"OBJ_{names.calls_bucket}"
        info = await JetStream(connection).stream_info(
            stream, subjects_filter=f"$O.{names.calls_bucket}.C.>"
        )
    return set(info.state.subjects or ())


async def test_a_large_request(server: EmbeddedServer, transport: NatsTransport) -> None:
    call = request("length", LARGE, timeout_s=20)
    async with serving(server):
        assert (await transport.send(call)).result == len(LARGE)

        async def removed() -> bool:
            return not await objects(server)

        await eventually(removed)


async def test_a_large_result_is_there_until_its_retention_is_over(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    call = request("grow", len(LARGE), task_id="t", timeout_s=20)
    async with serving(server, retain=3.0):
        *_, last = [event async for event in transport.stream(call)]
        assert len(last.result) == len(LARGE)
        seen = await transport.get_task(agent_url=AGENT, task_id="t")
        assert seen.result == last.result
        (listed,) = (await transport.list_tasks(agent_url=AGENT)).tasks
        assert listed.result is None
        (event,) = [each async for each in transport.subscribe_task(agent_url=AGENT, task_id="t")]
        assert event.result == last.result

        async def removed() -> bool:
            return not (await objects(server) or await messages(server))

        await eventually(removed)


async def test_a_large_answer_to_a_question(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async with serving(server):
        with pytest.raises(RemoteTaskInputRequired):
            await transport.send(request("doubled", LARGE, task_id="t", timeout_s=20))
        answer = request("doubled", LARGE[: 2 * MB], task_id="t", timeout_s=20)
        assert (await transport.send(answer)).result == 12 * MB
        seen = await transport.get_task(agent_url=AGENT, task_id="t", history_length=5)
    assert [getattr(each, "payload", each) for each in seen.history] == ["more?", LARGE[: 2 * MB]]


async def test_what_is_larger_than_the_limit_is_refused(
    server: EmbeddedServer, transport: NatsTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_claims, "MAX_BYTES", 2 * MB)
    async with serving(server):
        with pytest.raises(ObjectTooLarge):
            await transport.send(request("length", LARGE))
        with pytest.raises(RemoteTaskFailed, match="TOO_LARGE"):
            await transport.send(request("grow", len(LARGE), timeout_s=20))
        assert not await objects(server)


@pytest.mark.parametrize("skill", ["shout", "bore"])
async def test_a_piece_or_a_question_has_to_fit_into_a_message(
    server: EmbeddedServer, transport: NatsTransport, skill: str
) -> None:
    async with serving(server):
        with pytest.raises(RemoteTaskFailed, match="TOO_LARGE"):
            [_ async for _ in transport.stream(request(skill, 2 * MB, timeout_s=20))]


async def test_a_plain_call_has_to_fit_into_a_message(server: EmbeddedServer) -> None:
    async with serving(server), NatsTransport(server.url, durable=False) as plain:
        with pytest.raises(PayloadTooLarge):
            await plain.send(request("length", LARGE))
        with pytest.raises(RemoteTaskFailed, match="TOO_LARGE"):
            await plain.send(request("grow", len(LARGE), timeout_s=20))
