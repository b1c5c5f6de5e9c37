"""Many calls while replicas are killed and paused and the server restarts: a fixed seed."""

from __future__ import annotations

import asyncio
import random
import signal

import pytest

from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport
from tests.integration.remote.agent_app import Answer
from tests.integration.remote.calls import request
from tests.integration.remote.conftest import Process, StartReplica

SECONDS = 3.0


class Load:
    """Callers that check every answer."""

    def __init__(self, transport: NatsTransport) -> None:
        self.transport = transport
        self.done = self.restarts = 0
        self.wrong: list[object] = []
        self.stopping = False

    async def streams(self, caller: int) -> None:
        number = 0
        while not self.stopping:
            number += 1
            n = (caller * 31 + number * 17) % 90
            texts: list[str] = []
            call = request("count", {"n": n, "pause": 0.004}, task_id=f"s{caller}-{number}")
            async for event in self.transport.stream(call):
                if event.restarted:
                    self.restarts += 1
                    texts.clear()
                elif event.text is not None:
                    texts.append(event.text)
            if texts != [str(each) for each in range(n)]:
                self.wrong.append((call.task_id, n, texts))
            self.done += 1

    async def unary(self, caller: int) -> None:
        number = 0
        while not self.stopping:
            number += 1
            text = f"{caller}.{number}"
            answer = await self.transport.send(request("ask", {"text": text}, task_id=f"u{text}"))
            if answer.result.text != text:
                self.wrong.append((text, answer.result))
            self.done += 1


async def disturb(
    server: EmbeddedServer, replicas: list[Process], start_replica: StartReplica
) -> int:
    dice, faults = random.Random(20), 0
    end = asyncio.get_running_loop().time() + SECONDS
    while asyncio.get_running_loop().time() < end:
        await asyncio.sleep(dice.uniform(0.2, 0.5))
        victim = dice.randrange(len(replicas))
        fate = dice.choice(["kill", "pause", "server"])
        if fate == "server":
            await server.kill()
            await server.start()
        elif fate == "pause":
            replicas[victim].send_signal(signal.SIGSTOP)
            await asyncio.sleep(1.4)
            replicas[victim].send_signal(signal.SIGCONT)
        else:
            replicas[victim].kill()
            replicas[victim] = await start_replica()
        faults += 1
    return faults


@pytest.mark.chaos
async def test_every_answer_is_whole(server: EmbeddedServer, start_replica: StartReplica) -> None:
    replicas = list(await asyncio.gather(start_replica(), start_replica()))
    # The replicas run the module as a script, so the name of its types is another one there.
    async with NatsTransport(server.url, unreachable=30, types=[Answer]) as transport:
        load = Load(transport)
        callers = [load.streams(caller) for caller in range(8)]
        callers += [load.unary(caller) for caller in range(2)]
        async with asyncio.timeout(25), asyncio.TaskGroup() as group:
            for caller in callers:
                group.create_task(caller)
            faults = await disturb(server, replicas, start_replica)
            load.stopping = True
    assert load.wrong == []
    assert faults >= 2
    assert load.done > 20
