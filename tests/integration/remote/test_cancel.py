"""Cancelling: fast, durable, idempotent, and never a lie."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from penguiflow.remote import RemoteTaskFailed
from penguiflow_nats.agent import serve
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import CancelOutcome, NatsTransport
from tests.integration.remote.agent_app import agent
from tests.integration.remote.calls import AGENT, eventually, request


async def test_reaches_the_handler(
    server: EmbeddedServer, transport: NatsTransport, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    async with agent.serve(server.url):
        stream = transport.stream(request("wait", {"note": str(note)}, task_id="t"))
        assert (await anext(stream)).task_id == "t"
        assert (await anext(stream)).text == "began"
        began = time.time()
        outcome = await transport.cancel_task(agent_url=AGENT, task_id="t")
        assert outcome is CancelOutcome.CANCELLED
        await eventually(note.exists)
        assert float(note.read_text().split()[1]) - began < 0.5
        with pytest.raises(RemoteTaskFailed) as caught:
            await anext(stream)
        assert caught.value.snapshot.status.state == "cancelled"
        await stream.aclose()


async def test_reaches_a_unary_call(server: EmbeddedServer, transport: NatsTransport) -> None:
    async with agent.serve(server.url) as replica:
        waiting = asyncio.ensure_future(
            transport.send(request("once", {"seconds": 60}, task_id="u"))
        )
        await eventually(lambda: replica.in_work)
        await transport.cancel(agent_url=AGENT, task_id="u")
        with pytest.raises(RemoteTaskFailed):
            await waiting
        await eventually(lambda: not replica.in_work)


async def test_again_says_the_same(server: EmbeddedServer, transport: NatsTransport) -> None:
    async with agent.serve(server.url) as replica:
        waiting = asyncio.ensure_future(
            transport.send(request("once", {"seconds": 60}, task_id="u"))
        )
        await eventually(lambda: replica.in_work)
        for _ in range(3):
            outcome = await transport.cancel_task(agent_url=AGENT, task_id="u")
            assert outcome is CancelOutcome.CANCELLED
        await asyncio.gather(waiting, return_exceptions=True)


async def test_after_the_end_it_changes_nothing(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async with agent.serve(server.url):
        call = request("ask", {"text": "x"}, task_id="done")
        await transport.send(call)
        outcome = await transport.cancel_task(agent_url=AGENT, task_id="done")
        assert outcome is CancelOutcome.ENDED
        assert (await transport.send(call)).result.text == "x"


async def test_of_an_unknown_task_says_so(transport: NatsTransport) -> None:
    outcome = await transport.cancel_task(agent_url=AGENT, task_id="never")
    assert outcome is CancelOutcome.UNKNOWN


async def test_holds_when_the_agent_is_away(
    server: EmbeddedServer, transport: NatsTransport, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    call = request("once", {"note": str(note)}, task_id="early")
    async with NatsTransport(server.url, agent_wait=None) as patient:
        waiting = asyncio.ensure_future(patient.send(call))

        async def cancelled() -> bool:
            outcome = await transport.cancel_task(agent_url=AGENT, task_id="early")
            return outcome is CancelOutcome.CANCELLED

        await eventually(cancelled)
        with pytest.raises(RemoteTaskFailed):
            await waiting
    async with agent.serve(server.url):
        await transport.send(request("ask", {"text": "later"}))
    assert not note.exists()


async def test_racing_the_end_has_one_outcome(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    """Whatever cancel says is what the caller is told."""

    async def quick(message, ctx):
        await asyncio.sleep(message.payload)
        return "result"

    async def race(number: int) -> tuple[object, object]:
        url, task_id = "nats://quick", f"race-{number}"
        call = request("quick", number % 10 / 2000, task_id=task_id)
        call.agent_url = url
        sent = asyncio.ensure_future(transport.send(call))
        await asyncio.sleep(0.002 + number % 7 / 2000)
        while True:
            outcome = await transport.cancel_task(
                agent_url=call.agent_url, task_id=f"race-{number}"
            )
            if outcome is not CancelOutcome.UNKNOWN:
                break
        (answer,) = await asyncio.gather(sent, return_exceptions=True)
        return outcome, answer

    async with serve(quick, server.url, agent="quick"):
        races = [await race(number) for number in range(60)]
    for outcome, answer in races:
        lost = isinstance(answer, RemoteTaskFailed)
        assert lost == (outcome is CancelOutcome.CANCELLED)
    assert {outcome for outcome, _ in races} == {CancelOutcome.CANCELLED, CancelOutcome.ENDED}
