"""Agents found by themselves, and named by skill and version."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from penguiflow import Headers, Message, NodePolicy, create
from penguiflow.remote import RemoteNode
from penguiflow_nats.agent import AgentOptions, Result, serve
from penguiflow_nats.call_errors import AgentNotFound, CallTenantMismatch
from penguiflow_nats.call_subjects import BadAgentAddress
from penguiflow_nats.connection import Connection
from penguiflow_nats.discovering import DiscoveringTransport
from penguiflow_nats.discovery import (
    AgentNotKnown,
    SkillAddress,
    find_agent,
    find_agents,
    gather,
    version_key,
)
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from tests.integration.remote.agent_app import agent
from tests.integration.remote.calls import request


@pytest.fixture
async def connection(server: EmbeddedServer) -> AsyncIterator[Connection]:
    async with await Connection.open(ConnectionSettings(servers=(server.url,))) as connection:
        yield connection


def serving(server: EmbeddedServer, name: str, version: str, skill: str = "greet", **options):
    async def handler(message, ctx):
        yield f"from {name} {version}"
        yield Result(f"{name} {version}")

    return serve(
        handler,
        server.url,
        agent=name,
        skills=[skill],
        options=AgentOptions(version=version, lease=1.0),
        **options,
    )


async def test_finds_replicas_with_skills_schemas_and_counters(
    server: EmbeddedServer, connection: Connection
) -> None:
    async with agent.serve(server.url) as one, agent.serve(server.url) as other:
        async with DiscoveringTransport(server.url) as transport:
            for n in range(4):
                await transport.send(request("ask", {"text": str(n)}))
        (found,) = await find_agents(connection, stats=True)
    assert (found.name, found.address, found.versions) == ("tester", "nats://tester", ["1.0.0"])
    assert {each.id for each in found.replicas} == {one.id, other.id}
    skills = {each.name: each for each in found.skills}
    assert set(skills) == {"ask", "count", "tell", "fail", "refuse", "wait", "once", "confirm"}
    assert skills["ask"].description == "Repeats a text"
    assert skills["ask"].input_schema["required"] == ["text"]
    assert skills["ask"].requests == 4
    assert skills["ask"].seconds > 0


async def test_other_tenants_and_other_services_are_not_seen(
    server: EmbeddedServer, connection: Connection
) -> None:
    noise = connection.subscribe(
        "$SRV.INFO", lambda asked: connection.publish(asked.reply, b'{"name": 1')
    )
    async with serving(server, "mine", "1.0.0"), serving(server, "theirs", "1.0.0", tenant="blue"):
        assert [each.name for each in await find_agents(connection)] == ["mine"]
        assert [each.name for each in await find_agents(connection, tenant="blue")] == ["theirs"]
        assert [each.name for each in await find_agents(connection, name="theirs")] == []
    noise.unsubscribe()


async def test_nobody_is_known_at_once_and_one_who_never_stops_is_not_waited_for(
    connection: Connection,
) -> None:
    began = time.monotonic()
    assert await gather(connection, "$SRV.INFO") == []
    assert time.monotonic() - began < 1.0
    began = time.monotonic()

    async def babble(reply: str) -> None:
        while True:
            connection.publish(reply, b"{}")
            await asyncio.sleep(0.02)

    tasks: list[asyncio.Task[None]] = []
    connection.subscribe(
        "noisy", lambda asked: tasks.append(asyncio.ensure_future(babble(asked.reply)))
    )
    assert len(await gather(connection, "noisy", limit=0.5)) > 3
    assert time.monotonic() - began < 2.0
    tasks[0].cancel()


async def test_by_skill_the_newest_fitting_version_is_taken(
    server: EmbeddedServer, connection: Connection
) -> None:
    async with (
        serving(server, "old", "1.9.0"),
        serving(server, "mid", "1.10.0"),
        serving(server, "new", "2.0.0"),
        serving(server, "other", "9.0.0", skill="part"),
    ):
        assert await find_agent(connection, skill="greet") == "nats://new"
        assert await find_agent(connection, skill="greet", version="1") == "nats://mid"
        assert await find_agent(connection, skill="greet", version="1.9") == "nats://old"
        with pytest.raises(AgentNotKnown, match=r"version 3; there are mid 1.10.0, new"):
            await find_agent(connection, skill="greet", version="3")
        async with serving(server, "new", "2.1.0"):  # an update of one replica
            with pytest.raises(AgentNotKnown):
                await find_agent(connection, skill="greet", version="2.1")


def test_a_pre_release_is_older_than_its_release() -> None:
    versions = ["1.0.0", "1.0.0-rc.1", "0.9.9", "1.0.1+build"]
    assert sorted(versions, key=version_key) == ["0.9.9", "1.0.0-rc.1", "1.0.0", "1.0.1+build"]


@pytest.mark.parametrize(
    ("address", "parsed"),
    [
        ("nats://?skill=greet", SkillAddress("greet")),
        ("nats://?skill=greet&version=1", SkillAddress("greet", "1")),
        ("nats://blue/?version=1.2&skill=a%20b", SkillAddress("a b", "1.2", "blue")),
        ("nats://greeter", None),
    ],
)
def test_addresses_by_skill(address: str, parsed: SkillAddress | None) -> None:
    assert SkillAddress.parse(address) == parsed
    if parsed is not None:
        assert SkillAddress.parse(str(parsed)) == parsed


@pytest.mark.parametrize("query", ["version=1", "skill=", "skill=a&skill=b", "skill=a&x=b", "a"])
def test_other_queries_are_refused(query: str) -> None:
    with pytest.raises(BadAgentAddress):
        SkillAddress.parse(f"nats://?{query}")


async def test_a_remote_node_names_its_agent_by_skill(server: EmbeddedServer) -> None:
    bound = []

    class Store:
        async def save_event(self, event) -> None: ...

        async def load_history(self, trace_id):
            return []

        async def save_remote_binding(self, binding) -> None:
            bound.append(binding.agent_url)

    async with serving(server, "one", "1.0.0"), DiscoveringTransport(server.url) as transport:
        node = RemoteNode(
            transport=transport,
            skill="greet",
            agent_url="nats://?skill=greet&version=1",
            name="greet",
            streaming=True,
            policy=NodePolicy(validate="none"),
        )
        flow = create(node.to(), state_store=Store())
        flow.run()
        await flow.emit(Message(payload="x", headers=Headers(tenant="default")))
        texts = []
        while not isinstance(value := await flow.fetch(), str):
            texts.append(value.payload.text)
        await flow.stop()
    assert (texts, value) == (["from one 1.0.0"], "one 1.0.0")
    assert set(bound) == {"nats://one"}


async def test_an_agent_that_is_gone_is_looked_for_again(server: EmbeddedServer) -> None:
    greet = replace(request("greet", None), agent_url=str(SkillAddress("greet")))
    async with DiscoveringTransport(server.url, agent_wait=0.3) as transport:
        async with serving(server, "one", "2.0.0"):
            assert (await transport.send(greet)).result == "one 2.0.0"
        async with serving(server, "two", "1.0.0"):
            with pytest.raises(AgentNotFound):
                await transport.send(greet)
            events = [event async for event in transport.stream(greet)]
            assert events[-1].result == "two 1.0.0"
            with pytest.raises(CallTenantMismatch):
                await transport.resolve("nats://blue/?skill=greet")


async def test_resumes_and_cancels_by_skill(server: EmbeddedServer) -> None:
    address = "nats://?skill=wait"
    async with agent.serve(server.url), DiscoveringTransport(server.url) as transport:
        call = replace(request("wait", {}), agent_url=address, task_id="t")
        events = transport.stream(call)
        while (await anext(events)).text != "began":
            pass
        assert await transport.cancel_task(agent_url=address, task_id="t") == "cancelled"
        await events.aclose()
        events = transport.resume(agent_url=address, task_id="t")
        assert (await anext(events)).task_id == "t"
        await events.aclose()
