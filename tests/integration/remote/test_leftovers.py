"""Nothing is left behind by calls, however they end."""

from __future__ import annotations

import asyncio
import random

import pytest

from penguiflow.remote import RemoteCallRequest
from penguiflow_nats.agent import serve
from penguiflow_nats.call_errors import UnknownTask
from penguiflow_nats.connection import Connection
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.transport import NatsTransport
from tests.integration.remote.calls import eventually, message, messages


async def work(message, ctx):
    for number in range(3):
        yield str(number)
        await asyncio.sleep(message.payload)


def request(number: int, dice: random.Random) -> RemoteCallRequest:
    return RemoteCallRequest(
        message=message(dice.random() * 0.02),
        skill="work",
        agent_url="nats://busy",
        task_id=f"task-{number}",
        timeout_s=60,
    )


async def one(transport: NatsTransport, number: int, dice: random.Random) -> None:
    """A call that is left to its end, cancelled, given up, or abandoned in the middle."""
    call, fate = request(number, dice), dice.choice(["end", "cancel", "give up", "break"])
    if fate == "end":
        await transport.send(call)
    elif fate == "cancel":
        sent = asyncio.ensure_future(transport.send(call))
        await asyncio.sleep(dice.random() * 0.03)
        await transport.cancel(agent_url=call.agent_url, task_id=f"task-{number}")
        await asyncio.gather(sent, return_exceptions=True)
    elif fate == "give up":
        sent = asyncio.ensure_future(transport.send(call))
        await asyncio.sleep(dice.random() * 0.03)
        sent.cancel()
        await asyncio.gather(sent, return_exceptions=True)
    else:
        stream = transport.stream(call)
        async for event in stream:
            if event.text:
                break
        await stream.aclose()


@pytest.mark.parametrize(
    "calls", [400, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
async def test_after_many_calls_of_every_fate(server: EmbeddedServer, calls: int) -> None:
    dice, tasks = random.Random(7), asyncio.all_tasks()
    settings = ConnectionSettings(servers=(server.url,))
    async with (
        serve(work, server.url, agent="busy", concurrency=64, retain=0.2) as replica,
        await Connection.open(settings) as connection,
    ):
        transport = NatsTransport(connection)
        await transport.send(request(-1, dice))
        subscriptions = len(connection._subscriptions._all)
        gate = asyncio.Semaphore(64)

        async def gated(number: int) -> None:
            async with gate:
                await one(transport, number, dice)

        async with asyncio.timeout(30 + calls / 20):
            await asyncio.gather(*(gated(number) for number in range(calls)))
        assert len(connection._subscriptions._all) == subscriptions
        assert connection.statistics.waiting == 0
        await eventually(lambda: replica.in_work == 0, timeout=30)
        for number in range(calls):  # those that were cancelled are kept for longer
            await transport.forget(agent_url="nats://busy", task_id=f"task-{number}")

        async def nothing() -> bool:
            return await messages(server) == 0

        await eventually(nothing, timeout=30)
        await transport.close()
    await eventually(lambda: asyncio.all_tasks() == tasks, timeout=30)


async def test_a_forgotten_task_is_unknown(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async with serve(work, server.url, agent="busy"):
        call = request(1, random.Random(1))
        await transport.send(call)
        await transport.forget(agent_url=call.agent_url, task_id="task-1")
        with pytest.raises(UnknownTask):
            await anext(transport.resume(agent_url=call.agent_url, task_id="task-1"))
