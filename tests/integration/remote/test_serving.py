"""Serving: flows as agents, several skills, discovery."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from penguiflow import Node, NodePolicy, create
from penguiflow.remote import RemoteCallRequest, RemoteTaskFailed
from penguiflow_nats.agent import AgentOptions, BadHandler, serve
from penguiflow_nats.commands.agent import BadAgentSpec, load_agent
from penguiflow_nats.connection import Connection
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.transport import NatsTransport
from tests.integration.remote.agent_app import agent
from tests.integration.remote.calls import eventually, message, request
from tests.integration.remote.conftest import StartReplica


def to(agent_name: str, skill: str, payload: Any, **fields: Any) -> RemoteCallRequest:
    return RemoteCallRequest(
        message=message(payload), skill=skill, agent_url=f"nats://{agent_name}", **fields
    )


# ---- flows ---------------------------------------------------------------------------------------


async def spell(msg, ctx):
    for letter in msg.payload:
        await ctx.emit_chunk(parent=msg, text=letter)
    return msg.model_copy(update={"payload": msg.payload.upper()})


async def explode(msg, ctx):
    raise ValueError("no")


async def linger(msg, ctx):
    await asyncio.sleep(60)


def flow_of(function):
    return create(Node(function, name="n", policy=NodePolicy(validate="none")).to())


async def test_a_flow_streams_its_chunks_and_gives_its_first_result(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async with serve(flow_of(spell), server.url, agent="speller", skills=["spell"]):
        events = [event async for event in transport.stream(to("speller", "spell", "abc"))]
        assert [event.text for event in events] == [None, "a", "b", "c", None]
        assert events[-1].result == "ABC"
        many = [transport.send(to("speller", "spell", str(n))) for n in range(30)]
        answers = await asyncio.gather(*many)
        assert [answer.result for answer in answers] == [str(n) for n in range(30)]


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
async def test_a_served_flow_counts_the_time_that_is_left_whatever_the_callers_clock_says(
    server: EmbeddedServer, transport: NatsTransport, ahead: float
) -> None:
    async def left(msg, ctx):
        return msg.model_copy(update={"payload": msg.deadline_s - ctx.now()})

    async with serve(flow_of(left), server.url, agent="clock", skills=["left"]):
        asked = RemoteCallRequest(
            message=message(0, deadline_s=time.time() + ahead + 30),
            skill="left",
            agent_url="nats://clock",
            timeout_s=30,
        )
        answer = await transport.send(asked)
        assert 0 < answer.result <= 30.1


async def test_a_node_that_fails_fails_the_call(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async with serve(flow_of(explode), server.url, agent="bomb", skills=["explode"]):
        with pytest.raises(RemoteTaskFailed, match="raised ValueError: no"):
            await transport.send(to("bomb", "explode", None))


async def test_a_cancel_reaches_the_flow(server: EmbeddedServer, transport: NatsTransport) -> None:
    flow = flow_of(linger)
    async with serve(flow, server.url, agent="slow", skills=["linger"]) as replica:
        waiting = asyncio.ensure_future(transport.send(to("slow", "linger", None, task_id="t")))
        await eventually(lambda: replica.in_work)
        await transport.cancel(agent_url="nats://slow", task_id="t")
        with pytest.raises(RemoteTaskFailed):
            await waiting
        await eventually(lambda: not replica.in_work)


# ---- skills --------------------------------------------------------------------------------------


async def test_a_handler_alone_is_a_skill_by_its_name(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async def twice(message, ctx):
        await ctx.emit("working", meta={"remaining": ctx.remaining()})
        return message.payload * 2

    async with serve(twice, server.url, agent="math"):
        events = [e async for e in transport.stream(to("math", "twice", 4, timeout_s=5))]
    assert events[1].text == "working"
    assert 0 < events[1].meta["remaining"] <= 5
    assert events[-1].result == 8


@pytest.mark.parametrize("handler", [None, 3, lambda message, ctx: None])
async def test_what_cannot_be_served_is_refused(handler: Any) -> None:
    with pytest.raises(BadHandler):
        async with serve(handler, agent="x", skills=["s"]):
            pass


async def test_a_name_that_fits_no_subject_is_refused(server: EmbeddedServer) -> None:
    async def anything(message, ctx): ...

    with pytest.raises(ValueError, match="no name of an agent"):
        async with serve(anything, server.url, agent="a.b"):
            pass


BAD_SPECS = ["", "module", "no_such_module:x", "json:nothing", "json:__name__"]


@pytest.mark.parametrize("spec", BAD_SPECS)
def test_a_text_that_names_no_agent_says_why(spec: str) -> None:
    with pytest.raises(BadAgentSpec):
        load_agent(spec)


def test_a_text_names_an_agent_or_a_handler() -> None:
    module = "tests.integration.remote.agent_app"
    assert load_agent(f"{module}:agent").name == "tester"
    assert load_agent(f"{module}:count").name == "count"


# ---- concurrency ---------------------------------------------------------------------------------


async def test_works_on_as_many_calls_as_it_may(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    running, most = 0, 0

    async def busy(message, ctx):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1

    async with serve(busy, server.url, agent="busy", concurrency=3):
        await asyncio.gather(*(transport.send(to("busy", "busy", None)) for _ in range(30)))
    assert most == 3


# ---- discovery -----------------------------------------------------------------------------------


async def asked(server: EmbeddedServer, subject: str) -> dict[str, Any]:
    async with await Connection.open(ConnectionSettings(servers=(server.url,))) as connection:
        return json.loads((await connection.request(subject)).data)


async def test_is_a_micro_service(server: EmbeddedServer, transport: NatsTransport) -> None:
    options = AgentOptions(version="2.1.0", description="For tests", lease=1.0)
    async with agent.serve(server.url, options=options) as replica:
        await transport.send(request("ask", {"text": "x"}))
        with pytest.raises(RemoteTaskFailed):
            await transport.send(request("fail", {}))
        ping = await asked(server, "$SRV.PING")
        info = await asked(server, f"$SRV.INFO.tester.{replica.id}")
        stats = await asked(server, "$SRV.STATS.tester")
    identity = {"name": "tester", "id": replica.id, "version": "2.1.0"}
    for answer, kind in ((ping, "ping"), (info, "info"), (stats, "stats")):
        assert answer["type"] == f"io.nats.micro.v1.{kind}_response"
        assert identity.items() <= answer.items()
    assert info["description"] == "For tests"
    endpoints = {each["name"]: each for each in info["endpoints"]}
    assert set(endpoints) == {"ask", "count", "tell", "fail", "refuse", "wait", "once", "confirm"}
    schema = json.loads(endpoints["ask"]["metadata"]["input_schema"])
    assert schema["required"] == ["text"]
    counted = {each["name"]: each for each in stats["endpoints"]}
    assert counted["ask"]["num_requests"] == 1
    assert counted["ask"]["processing_time"] > 0
    assert counted["fail"]["num_errors"] == 1
    assert "ValueError" in counted["fail"]["last_error"]


async def test_is_seen_no_more_when_it_stopped(server: EmbeddedServer) -> None:
    async with agent.serve(server.url):
        pass
    async with agent.serve(server.url) as replica:
        assert (await asked(server, "$SRV.PING.tester"))["id"] == replica.id


# ---- a process of its own ------------------------------------------------------------------------


async def test_sigterm_drains_and_ends_with_0(
    transport: NatsTransport, start_replica: StartReplica
) -> None:
    replica = await start_replica()
    waiting = asyncio.ensure_future(transport.send(request("once", {"seconds": 0.5})))
    await asyncio.sleep(0.2)
    replica.terminate()
    async with asyncio.timeout(8):
        assert (await waiting).result
        assert await replica.wait() == 0
