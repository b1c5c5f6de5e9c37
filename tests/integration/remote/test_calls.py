"""Calls of an agent: results, streams, errors."""

from __future__ import annotations

import asyncio
import os

import pytest

from penguiflow.remote import RemoteTaskFailed, RemoteTransport
from penguiflow_nats.agent import serve
from penguiflow_nats.call_errors import AgentNotFound, CallTenantMismatch
from penguiflow_nats.call_subjects import BadAgentAddress
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport
from tests.integration.remote.agent_app import Answer, Question, agent
from tests.integration.remote.calls import AGENT, eventually, messages, request


@pytest.fixture
async def replica(server: EmbeddedServer):
    async with agent.serve(server.url) as replica:
        yield replica


pytestmark = pytest.mark.usefixtures("replica")


def test_is_a_remote_transport() -> None:
    assert isinstance(NatsTransport, type)
    assert issubclass(NatsTransport, RemoteTransport)


async def test_a_call_gives_the_result_with_its_type(transport: NatsTransport) -> None:
    answer = await transport.send(request("ask", Question(text="ab", times=2)))
    assert isinstance(answer.result, Answer)
    assert answer.result.text == "abab"
    assert answer.task_id
    assert answer.agent_url == AGENT


async def test_plain_data_becomes_the_skills_input(transport: NatsTransport) -> None:
    answer = await transport.send(request("ask", {"text": "ab"}))
    assert answer.result.text == "ab"


async def test_a_thousand_pieces_come_in_order(transport: NatsTransport) -> None:
    events = [event async for event in transport.stream(request("count", {"n": 1000}))]
    first, *pieces, last = events
    assert first.text is None
    assert first.task_id
    assert [piece.text for piece in pieces] == [str(n) for n in range(1000)]
    assert [piece.meta for piece in pieces] == [{"worker": os.getpid()}] * 1000
    assert [piece.position for piece in pieces] == [f"1.{n + 1}" for n in range(1000)]
    assert [piece.done for piece in pieces] == [False] * 999 + [True]
    assert last.result["n"] == 1000
    assert {event.task_id for event in events} == {first.task_id}


async def test_an_error_of_the_handler_is_told(transport: NatsTransport) -> None:
    with pytest.raises(RemoteTaskFailed, match="ValueError: no summary of this") as caught:
        await transport.send(request("fail", {}))
    assert caught.value.code == "HANDLER_EXCEPTION"
    assert caught.value.snapshot.status.state == "failed"


async def test_a_refusal_is_told_with_its_code(transport: NatsTransport) -> None:
    with pytest.raises(RemoteTaskFailed, match="not today") as caught:
        await transport.send(request("refuse", {}))
    assert caught.value.code == "CLOSED"
    assert caught.value.snapshot.status.state == "rejected"


async def test_an_unknown_skill_is_rejected_and_the_known_ones_are_named(
    transport: NatsTransport,
) -> None:
    with pytest.raises(RemoteTaskFailed, match="no skill 'dance'; it has ask, count") as caught:
        await transport.send(request("dance", {}))
    assert caught.value.code == "UNKNOWN_SKILL"


async def test_a_wrong_input_is_rejected_without_repeating_it(transport: NatsTransport) -> None:
    with pytest.raises(RemoteTaskFailed, match="text: Field required") as caught:
        await transport.send(request("ask", {"secret": "hunter2"}))
    assert caught.value.code == "INVALID_INPUT"
    assert "hunter2" not in str(caught.value)


async def test_no_agent_is_an_error_that_names_it(server: EmbeddedServer) -> None:
    call = request("ask", {"text": "x"})
    call.agent_url = "nats://nobody"
    async with NatsTransport(server.url, agent_wait=0.3) as impatient:
        with pytest.raises(AgentNotFound, match="no agent 'nobody' of tenant 'default'"):
            await impatient.send(call)
        assert await messages(server) == 0


async def test_a_call_may_wait_for_its_agent(server: EmbeddedServer) -> None:
    call = request("late", {}, timeout_s=8)
    call.agent_url = "nats://latecomer"

    async def late(message, ctx):
        return "here"

    async with NatsTransport(server.url, agent_wait=None) as patient:
        waiting = asyncio.ensure_future(patient.send(call))
        await asyncio.sleep(0.3)
        async with serve(late, server.url, agent="latecomer"):
            assert (await waiting).result == "here"


@pytest.mark.parametrize(
    "address",
    ["tester", "http://tester", "nats://", "nats://a/b/c", "nats://te.ster", "nats://*",
     "nats://tester\n", "nats://_tester", "nats://" + "x" * 65],
)  # fmt: skip
async def test_an_address_of_another_form_is_refused(
    transport: NatsTransport, address: str
) -> None:
    call = request("ask", {})
    call.agent_url = address
    with pytest.raises(BadAgentAddress):
        await transport.send(call)


async def test_another_tenant_is_refused(transport: NatsTransport) -> None:
    call = request("ask", {})
    call.agent_url = "nats://other/tester"
    with pytest.raises(CallTenantMismatch):
        await transport.send(call)
    call = request("ask", {})
    call.message.headers.tenant = "other"
    with pytest.raises(CallTenantMismatch):
        await transport.send(call)


async def test_the_tenant_may_stand_in_the_address(transport: NatsTransport) -> None:
    call = request("ask", {"text": "x"})
    call.agent_url = "nats://default/tester"
    assert (await transport.send(call)).result.text == "x"


async def test_the_same_task_id_runs_once(transport: NatsTransport, tmp_path) -> None:
    note = tmp_path / "note"
    calls = [
        transport.send(request("once", {"note": str(note)}, task_id="the-one")) for _ in range(5)
    ]
    answers = await asyncio.gather(*calls)
    later = await transport.send(request("once", {"note": str(note)}, task_id="the-one"))
    assert {answer.result for answer in (*answers, later)} == {"the-one"}
    assert note.read_text() == "ran the-one\n"


async def test_the_same_idempotency_key_is_the_same_task(
    transport: NatsTransport, tmp_path
) -> None:
    note = tmp_path / "note"
    answers = [
        await transport.send(request("once", {"note": str(note)}, idempotency_key="k"))
        for _ in range(2)
    ]
    assert answers[0].task_id == answers[1].task_id
    assert len(note.read_text().splitlines()) == 1


async def test_the_deadline_bounds_the_agent(transport: NatsTransport, tmp_path) -> None:
    note = tmp_path / "note"
    with pytest.raises((TimeoutError, RemoteTaskFailed)):
        await transport.send(request("wait", {"note": str(note)}, timeout_s=0.4))
    await eventually(note.exists)
    assert note.read_text().startswith("cancelled")


async def test_a_finished_task_is_removed_after_its_retention(server: EmbeddedServer) -> None:
    async def short(message, ctx):
        yield "a"

    async with (
        serve(short, server.url, agent="short", retain=0.3),
        NatsTransport(server.url) as transport,
    ):
        call = request("short", {})
        call.agent_url = "nats://short"
        for _ in range(20):
            assert [e.text async for e in transport.stream(call)] == [None, "a", None]
        assert await messages(server) > 0

        async def empty() -> bool:
            return await messages(server) == 0

        await eventually(empty)


async def test_a_busy_agent_is_not_taken_for_none(server: EmbeddedServer) -> None:
    """Calls queue for longer than callers wait for an agent."""

    async def slow(message, ctx):
        await asyncio.sleep(0.004)
        return message.payload

    async with (
        serve(slow, server.url, agent="slow", concurrency=2),
        NatsTransport(server.url, agent_wait=0.2) as impatient,
    ):
        calls = [request("slow", number) for number in range(500)]
        for call in calls:
            call.agent_url = "nats://slow"
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*map(impatient.send, calls))
    assert [answer.result for answer in answers] == list(range(500))
