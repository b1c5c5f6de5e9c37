"""The published client of the protocol, unmodified, against an agent behind the front."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.client import Client
from synadia_ai.agents import (
    Agents,
    Attachment,
    DiscoverFilter,
    Envelope,
    ProtocolError,
    Query,
)
from synadia_ai.agents.errors import AttachmentsNotSupportedError
from synadia_ai.agents.messages import ResponseChunk, StatusChunk

from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport
from tests.integration.synadia.conftest import Agent, Front


async def discovered(agents: Agents, session: str = "default"):
    (found,) = await agents.discover(
        stall=0.3, filter=DiscoverFilter(owner="zoo", session_name=session)
    )
    return found


def texts(chunks: list) -> str:
    return "|".join(each.text for each in chunks if isinstance(each, ResponseChunk))


async def test_discovery_status_and_liveness(agent: Agent, front: Front, nc: Client) -> None:
    agents = Agents(nc=nc)
    await agents.start_tracking()
    async with front("stream", heartbeat=1, description="Streams words", version="1.2.3") as shown:
        found = await discovered(agents)
        assert (found.agent, found.owner, found.session_name) == ("penguin", "zoo", "default")
        assert (found.protocol_version, found.version) == ("0.3", "1.2.3")
        assert found.description == "Streams words"
        assert found.instance_id == shown.id
        assert found.prompt_endpoint.max_payload_bytes == 1008 * 1024
        assert found.prompt_endpoint.attachments_ok is False
        assert await agents.ping(found.instance_id)
        status = await found.status()
        assert (status.agent, status.session, status.interval_s) == ("penguin", "default", 1)
        assert status.endpoints is not None
        assert status.endpoints["prompt"].subject == found.prompt_subject
        alive = agents.liveness(shown.id)
        assert alive is not None
        assert alive.is_online
    assert await agents.discover(stall=0.3) == []
    await agents.close()


async def test_a_streamed_prompt(agent: Agent, front: Front, nc: Client) -> None:
    agents = Agents(nc=nc)
    async with front("stream", session="birds"):
        found = await discovered(agents, "birds")
        chunks = [each async for each in found.prompt("walk like a penguin")]
        assert chunks[0] == StatusChunk(status="ack")
        assert texts(chunks) == "walk|like|a|penguin"
        envelope = Envelope(prompt="swim", depth=3)
        assert texts([each async for each in found.prompt(envelope)]) == "swim"
    metadata = {"protocol": "agents 0.3", "fields": {}}
    assert agent.heard == [
        ("walk like a penguin", "birds", metadata),
        ("swim", "birds", metadata | {"fields": {"depth": 3}}),
    ]
    await agents.close()


async def test_a_result_is_told_when_nothing_was_streamed(
    agent: Agent, front: Front, nc: Client
) -> None:
    agents = Agents(nc=nc)
    async with front("result"):
        found = await discovered(agents)
        assert texts([each async for each in found.prompt("x")]) == '{"asked":"x"}'
    await agents.close()


async def test_a_large_piece_comes_in_several(agent: Agent, front: Front, nc: Client) -> None:
    agents = Agents(nc=nc)
    async with front("large"):
        found = await discovered(agents)
        chunks = [each async for each in found.prompt("x")]
    pieces = [each.text for each in chunks if isinstance(each, ResponseChunk)]
    assert len(pieces) > 1
    assert "".join(pieces) == "\x00" * 500_000
    await agents.close()


@pytest.mark.parametrize(
    ("skill", "error"),
    [
        ("fail", r"500: the agent failed; task \w{32}$"),
        ("reject", r"400: CLOSED: not on Sundays X: y \? \?nd$"),
        ("unknown", r"404: UNKNOWN_SKILL"),
    ],
)
async def test_errors(agent: Agent, front: Front, nc: Client, skill: str, error: str) -> None:
    agents = Agents(nc=nc)
    async with front(skill):
        found = await discovered(agents)
        with pytest.raises(ProtocolError, match=error):
            async for _ in found.prompt("x"):
                pass
    await agents.close()


async def test_attachments_are_not_even_sent(agent: Agent, front: Front, nc: Client) -> None:
    agents = Agents(nc=nc)
    async with front("stream"):
        found = await discovered(agents)
        with pytest.raises(AttachmentsNotSupportedError):
            found.prompt("x", attachments=[Attachment.from_bytes("a", b"b")])
    await agents.close()


async def test_signs_of_life_keep_a_slow_answer_open(
    agent: Agent, front: Front, nc: Client
) -> None:
    agents = Agents(nc=nc)
    async with front("wait", keepalive=0.2, drain=0.1):
        found = await discovered(agents)
        acks = 0
        prompt = found.prompt("x", timeout=2.5)
        async with asyncio.timeout(10):
            async for each in prompt:
                acks += isinstance(each, StatusChunk)
                if acks == 3:
                    break
        await prompt.aclose()
    await asyncio.wait_for(agent.cancelled.wait(), 5)  # the front was stopped
    await agents.close()


# ---- questions -----------------------------------------------------------------------------------


async def test_the_agent_asks_and_is_answered(
    agent: Agent, front: Front, nc: Client, server: EmbeddedServer
) -> None:
    agents = Agents(nc=nc)
    told: list[str] = []
    async with front("confirm"), asyncio.timeout(30):
        found = await discovered(agents)
        async for each in found.prompt("walls"):
            if isinstance(each, Query):
                told.append(f"? {each.prompt}")
                await each.reply("red" if "colour" in each.prompt else Envelope(prompt="2"))
            elif isinstance(each, ResponseChunk):
                told.append(each.text)
    assert told == ["about walls", "? which colour?", "in red", '? {"sizes":[1,2]}']
    async with NatsTransport(server.url) as transport:
        page = await transport.list_tasks(agent_url="nats://penguin", include_artifacts=True)
    assert [task.result for task in page.tasks] == [["red", "2"]]
    await agents.close()


@pytest.mark.slow
async def test_signs_of_life_go_on_while_the_client_thinks(
    agent: Agent, front: Front, nc: Client
) -> None:
    agents = Agents(nc=nc)
    question, acks, texts_after = None, 0, []
    async with front("confirm", keepalive=0.2), asyncio.timeout(30):
        found = await discovered(agents)
        async for each in found.prompt("walls"):
            if isinstance(each, Query):
                question, acks = each, 0
            elif isinstance(each, StatusChunk) and question is not None:
                acks += 1
                if acks == 3:
                    await question.reply("blue")
                    question = None
            elif isinstance(each, ResponseChunk):
                texts_after.append(each.text)
                if each.text == "in blue":
                    break
    assert texts_after == ["about walls", "in blue"]
    await agents.close()


@pytest.mark.parametrize(
    ("skill", "options", "reply", "error"),
    [
        ("confirm", {"answer_wait": 0.3}, None, r"500: nobody answered what the agent asked"),
        ("confirm", {}, Envelope(prompt="x", attachments=[]), None),
        ("confirm", {}, "", r"400: the request is empty"),
        ("locked", {}, None, r"401: the agent needs credentials"),
    ],
)
async def test_questions_that_end_in_an_error_leave_no_task(
    agent: Agent,
    front: Front,
    nc: Client,
    server: EmbeddedServer,
    skill: str,
    options: dict,
    reply: str | Envelope | None,
    error: str | None,
) -> None:
    agents = Agents(nc=nc)

    async def prompt() -> None:
        async for each in (await discovered(agents)).prompt("x"):
            if isinstance(each, Query) and reply is not None:
                await each.reply(reply)

    async with front(skill, **options), asyncio.timeout(30):
        if error is None:
            await prompt()
        else:
            with pytest.raises(ProtocolError, match=error):
                await prompt()
    async with NatsTransport(server.url) as transport:
        page = await transport.list_tasks(agent_url="nats://penguin")
    (task,) = page.tasks
    assert task.status.state == ("completed" if error is None else "cancelled")
    await agents.close()
