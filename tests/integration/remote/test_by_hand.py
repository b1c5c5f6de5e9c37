"""The wire as `docs/remote-calls.md` says it, spoken by hand with bare nats-py and msgpack."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import nats
import pytest
from nats.aio.client import Client

from penguiflow.remote import RemoteTaskFailed
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport
from tests.integration.remote.agent_app import agent
from tests.integration.remote.calls import request

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
FENCE = "Nats-Expected-Last-Subject-Sequence"


@pytest.fixture
async def nc(server: EmbeddedServer) -> AsyncIterator[Client]:
    client = await nats.connect(server.url)
    yield client
    await client.close()


def request_of(task: str, skill: str, payload: Any, agent_name: str = "tester") -> bytes:
    message = [payload, [], 1, "0" * 32, "default", None, 0, 0.0, None, {}]
    return pack([1, "default", agent_name, task, skill, message])


async def receipt(nc: Client, subject: str, data: bytes, **headers: str) -> dict[str, Any]:
    answer = await nc.request(subject, data, headers=headers or None, timeout=5)
    return json.loads(answer.data)


async def test_a_caller_by_hand(server: EmbeddedServer, nc: Client) -> None:
    async with agent.serve(server.url):
        news = await nc.subscribe("pf.v1.default.news.mine.*")
        sent = request_of("mine", "count", {"n": 50})
        assert "error" not in await receipt(nc, "pf.v1.default.call.tester.mine", sent)
        again = await receipt(nc, "pf.v1.default.call.tester.mine", sent)
        assert "maximum messages per subject exceeded" in again["error"]["description"]
        texts: list[str] = []
        end = None
        async with asyncio.timeout(8):
            while end is None or len(texts) < end[9]:
                heard = await news.next_msg(timeout=5)
                fields = unpack(heard.data)
                if heard.subject.endswith(".state"):
                    end = fields if fields[1] == "end" else end
                else:
                    _, epoch, n, pieces = fields
                    assert (epoch, n) == (1, len(texts))
                    texts.extend(piece[0] for piece in pieces)
    assert texts == [str(n) for n in range(50)]
    assert end[7] == "completed"
    assert end[8]["n"] == 50


async def test_a_caller_by_hand_reads_it_all_later(server: EmbeddedServer, nc: Client) -> None:
    async with agent.serve(server.url), NatsTransport(server.url) as transport:
        async for _ in transport.stream(request("count", {"n": 50}, task_id="late")):
            pass
    inbox = nc.new_inbox()
    answers = await nc.subscribe(inbox)
    subject = "pf.v1.default.reply.late.*"
    ask = json.dumps({"seq": 1, "next_by_subj": subject, "batch": 256}).encode()
    await nc.publish("$JS.API.DIRECT.GET.PF_default_REPLIES", ask, reply=inbox)
    found = []
    while not (answer := await answers.next_msg(timeout=5)).headers.get("Status"):
        found.append(unpack(answer.data))
    texts = [piece[0] for fields in found if isinstance(fields[1], int) for piece in fields[3]]
    assert texts == [str(n) for n in range(50)]
    assert found[-1][1] == "end"


async def test_an_agent_by_hand(
    server: EmbeddedServer, nc: Client, transport: NatsTransport
) -> None:
    """Serves one call without a start, and one that it refuses after a start."""
    js = nc.jetstream()
    first = request("greet", {"name": "Ada"}, task_id="one", timeout_s=8)
    second = request("greet", {"name": ""}, task_id="two", timeout_s=8)
    first.agent_url = second.agent_url = "nats://manual"
    callers = asyncio.gather(transport.send(first), transport.send(second), return_exceptions=True)
    pull = None
    async with asyncio.timeout(8):
        while pull is None:
            try:
                pull = await js.pull_subscribe(
                    "pf.v1.default.call.manual.*", durable="agent_manual", stream="PF_default_CALLS"
                )
            except nats.js.errors.NotFoundError:
                await asyncio.sleep(0.05)  # the transport makes the streams
        handled = 0
        while handled < 2:
            for message in await pull.fetch(1, timeout=5):
                await answer(nc, message.subject.split(".")[5], unpack(message.data))
                await message.ack_sync()
                handled += 1
        greeted, refused = await callers
    assert greeted.result == "Hello Ada"
    assert isinstance(refused, RemoteTaskFailed)
    assert refused.code == "NAMELESS"


async def answer(nc: Client, token: str, fields: list[Any]) -> None:
    name, state = fields[5][0]["name"], f"pf.v1.default.reply.{token}.state"
    if name:
        end = [1, "end", 1, "manual", "me", "greet", None, "completed", f"Hello {name}"]
        await receipt(nc, state, pack(end), **{FENCE: "0"})
        return
    start = await receipt(nc, state, pack([1, "start", 1, "manual", "me"]), **{FENCE: "0"})
    error = ["NAMELESS", "a name is needed"]
    end = [1, "end", 1, "manual", "me", "greet", None, "rejected", None, 0, error]
    await receipt(nc, state, pack(end), **{FENCE: str(start["seq"])})
    late = await receipt(nc, state, pack(end), **{FENCE: str(start["seq"])})
    assert late["error"]["err_code"] == 10071


async def test_an_agent_by_hand_continues_another_one(nc: Client, transport: NatsTransport) -> None:
    call = request("greet", {}, task_id="both", timeout_s=30)
    call.agent_url = "nats://manual"
    stream = transport.stream(call)
    await anext(stream)  # the request is stored, and named
    texts = asyncio.ensure_future(texts_of(stream))
    reply = "pf.v1.default.reply.both"
    await receipt(nc, f"{reply}.state", pack([1, "start", 1, "manual", "one"]), **{FENCE: "0"})
    first = await receipt(nc, f"{reply}.1", pack([1, 1, 0, [["a"], ["b", False, None]]]))
    going_on = pack([1, "start", 2, "manual", "two", "greet", None, "continued"])
    fence = {FENCE: str(first["seq"] - 1)}
    started = await receipt(nc, f"{reply}.state", going_on, **fence)
    await receipt(nc, f"{reply}.1", pack([1, 1, 2, [["void"]]]))
    await receipt(nc, f"{reply}.2", pack([1, 2, 2, [["c"]]]))
    end = [1, "end", 2, "manual", "two", "greet", None, "completed", None, 3]
    await receipt(nc, f"{reply}.state", pack(end), **{FENCE: str(started["seq"])})
    async with asyncio.timeout(30):
        assert await texts == ["a", "b", "c"]


async def texts_of(stream: AsyncIterator[Any]) -> list[str]:
    return [event.text async for event in stream if event.text is not None]


async def test_rubbish_ends_as_malformed(server: EmbeddedServer, nc: Client) -> None:
    async with agent.serve(server.url):
        for number, rubbish in enumerate(
            (b"", b"\xc1", pack([1, "other", "tester", "r2", "x", []]))
        ):
            news = await nc.subscribe(f"pf.v1.default.news.r{number}.*")
            await receipt(nc, f"pf.v1.default.call.tester.r{number}", rubbish)
            end = unpack((await news.next_msg(timeout=5)).data)
            assert (end[7], end[10][0]) == ("rejected", "MALFORMED")
