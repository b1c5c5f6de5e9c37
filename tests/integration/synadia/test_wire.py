"""The protocol by hand: what a client that keeps to nothing is told, and what becomes of tasks."""

from __future__ import annotations

import asyncio
import json

import nats
import pytest
from nats.aio.client import Client

from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.synadia import BadToken
from penguiflow_nats.synadia.answer import Diverged, Said
from penguiflow_nats.synadia.names import Names
from penguiflow_nats.synadia.wire import longest_prompt, read_prompt, written
from tests.integration.remote.calls import eventually
from tests.integration.synadia.conftest import Agent, Front

PROMPT = "agents.prompt.penguin.zoo.default"


async def prompt(nc: Client, data: bytes, subject: str = PROMPT) -> list:
    """All messages of an answer, without its end."""
    inbox = nc.new_inbox()
    answers = await nc.subscribe(inbox)
    await nc.publish(subject, data, reply=inbox)
    found = []
    while True:
        message = await answers.next_msg(timeout=5)
        if not message.data and not message.headers:
            await answers.unsubscribe()
            return found
        found.append(message)


async def test_the_order_of_an_answer(agent: Agent, front: Front, nc: Client) -> None:
    async with front("stream"):
        chunks = [json.loads(each.data) for each in await prompt(nc, b" plain text")]
    assert chunks[0] == {"type": "status", "data": "ack"}
    assert chunks[1]["type"] == "task"
    assert chunks[2:] == [
        {"type": "response", "data": "plain"},
        {"type": "response", "data": "text"},
    ]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (b"", "empty"),
        (b"\xff\xfe", "neither JSON nor UTF-8"),
        (b' {"prompt": ', "malformed JSON"),
        (b'{"prompt": ""}', "not empty"),
        (b'{"prompt": 3}', "not empty"),
        (b'{"text": "x"}', "not empty"),
        (b'{"prompt": "x", "attachments": [{"filename": "a", "content": "YQ=="}]}', "no attach"),
        (b"x" * 1_040_000, "1032192 are allowed"),
        (b"{" * 100_000, "malformed JSON"),
    ],
)
async def test_a_bad_request_is_refused_without_an_ack(
    agent: Agent, front: Front, nc: Client, request_: bytes, words: str
) -> None:
    async with front("stream"):
        (refused,) = await prompt(nc, request_)
    assert refused.headers["Nats-Service-Error-Code"] == "400"
    assert words in refused.headers["Nats-Service-Error"]
    assert agent.heard == []


async def test_more_than_the_limit_are_refused_and_the_rest_is_told_of_the_stop(
    agent: Agent, front: Front, nc: Client
) -> None:
    async with front("wait", concurrency=1, drain=0.1) as shown:
        first = asyncio.ensure_future(prompt(nc, b"x"))
        await eventually(lambda: shown.in_work)
        (refused,) = await prompt(nc, b"x")
        assert refused.headers["Nats-Service-Error-Code"] == "429"
    assert (await first)[-1].headers["Nats-Service-Error"] == "the agent was stopped"
    await asyncio.wait_for(agent.cancelled.wait(), 5)


async def test_the_end_of_a_client_ends_the_task(
    server: EmbeddedServer, agent: Agent, front: Front
) -> None:
    async with front("wait", keepalive=0.1) as shown:
        client = await nats.connect(server.url)
        asking = asyncio.ensure_future(prompt(client, b"x"))
        await eventually(lambda: shown.in_work)
        await asyncio.sleep(0.3)
        assert not agent.cancelled.is_set()
        asking.cancel()
        await client.close()
        await asyncio.wait_for(agent.cancelled.wait(), 5)
        await eventually(lambda: not shown.in_work)


async def test_a_task_can_be_cancelled_by_whoever_was_told_its_id(
    agent: Agent, front: Front, nc: Client
) -> None:
    cancel = "agents.cancel.penguin.zoo.default"
    async with front("wait"):
        inbox = nc.new_inbox()
        answers = await nc.subscribe(inbox)
        await nc.publish(PROMPT, b"x", reply=inbox)
        task = ""
        while True:
            chunk = json.loads((await answers.next_msg(timeout=5)).data)
            task = chunk["data"]["id"] if chunk["type"] == "task" else task
            if chunk["type"] == "response":
                break
        told = await nc.request(cancel, task.encode(), timeout=5)
        assert json.loads(told.data) == {"task": task, "outcome": "cancelled"}
        refused = await answers.next_msg(timeout=5)
        assert refused.headers["Nats-Service-Error-Code"] == "409"
        assert not (await answers.next_msg(timeout=5)).data
        for nonsense in (b"", b"*", b"0" * 33):
            told = await nc.request(cancel, nonsense, timeout=5)
            assert told.headers["Nats-Service-Error-Code"] == "400"


async def test_a_payload_is_made_of_the_prompt(agent: Agent, front: Front, nc: Client) -> None:
    def payload(prompt):
        if prompt.text == "bad":
            raise ValueError("say it otherwise")
        return {"text": prompt.text}

    async with front("result", payload=payload):
        found = await prompt(nc, b"good")
        assert json.loads(json.loads(found[-1].data)["data"]) == {"asked": {"text": "good"}}
        (refused,) = await prompt(nc, b"bad")
        assert "say it otherwise" in refused.headers["Nats-Service-Error"]


# ---- pure ----------------------------------------------------------------------------------------


def test_names() -> None:
    names = Names.of("penguin-1", "a.b", "Größe")
    assert names.subject("prompt") == "agents.prompt.penguin-1.YS5i.R3LDtsOfZQ"
    for bad in (("Penguin", "a", "b"), ("", "a", "b"), ("a", "", "b"), ("a", "b", "x" * 200)):
        with pytest.raises(BadToken):
            Names.of(*bad)
    with pytest.raises(BadToken):
        Names.of("a.b", "c", "d")


def test_sizes() -> None:
    assert written(longest_prompt(1 << 20)) == "1008KB"
    assert longest_prompt(100) == 1024
    assert read_prompt(b'{"prompt": "x", "attachments": []}', 100).text == "x"


def test_an_attempt_that_says_the_same_goes_on_and_another_one_ends_the_answer() -> None:
    said = Said()
    assert [said.new(each) for each in ("ab", "cd")] == ["ab", "cd"]
    said.restart()
    assert [said.new(each) for each in ("a", "bcde", "f")] == ["", "e", "f"]
    said.end()
    said.restart()
    assert said.new("abc") == ""
    with pytest.raises(Diverged):
        said.end()
    with pytest.raises(Diverged):
        said.new("x")
