"""Calls outlive agents, callers and servers."""

from __future__ import annotations

import asyncio
import signal

from penguiflow_nats.answer import NatsStreamEvent
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport
from tests.integration.remote.agent_app import agent
from tests.integration.remote.calls import AGENT, request
from tests.integration.remote.conftest import Process, StartProcess, StartReplica


def numbers(events: list[NatsStreamEvent]) -> list[str]:
    return [event.text for event in events if event.text]


async def two(start_replica: StartReplica) -> dict[int, Process]:
    """Two replicas by process id."""
    replicas = await asyncio.gather(start_replica(), start_replica())
    return {replica.pid: replica for replica in replicas}


async def test_another_replica_takes_over_from_a_killed_one(
    transport: NatsTransport, start_replica: StartReplica
) -> None:
    replicas = await two(start_replica)
    events: list[NatsStreamEvent] = []
    async with asyncio.timeout(9):
        async for event in transport.stream(request("count", {"n": 100, "pause": 0.005})):
            events.append(event)
            if len(numbers(events)) == 20 and len(replicas) == 2:
                replicas.pop(event.meta["worker"]).kill()
    (left,) = replicas
    at = [index for index, event in enumerate(events) if event.restarted]
    assert len(at) == 1
    assert events[at[0]].meta == {"restart": True, "epoch": 2}
    before = numbers(events[: at[0]])
    assert before == [str(n) for n in range(len(before))]
    assert numbers(events[at[0] :]) == [str(n) for n in range(100)]
    assert events[-1].result == {"n": 100, "worker": left, "epoch": 2}


async def test_a_replica_that_was_paused_cannot_interfere(
    transport: NatsTransport, start_replica: StartReplica
) -> None:
    """It goes on where it stopped, in an epoch that is void."""
    replicas = await two(start_replica)
    events: list[NatsStreamEvent] = []
    paused = None
    async with asyncio.timeout(9):
        async for event in transport.stream(request("count", {"n": 150, "pause": 0.01})):
            events.append(event)
            if len(numbers(events)) == 20 and paused is None:
                paused = replicas.pop(event.meta["worker"])
                paused.send_signal(signal.SIGSTOP)
            if event.restarted:
                assert paused is not None
                paused.send_signal(signal.SIGCONT)
    (left,) = replicas
    at = next(index for index, event in enumerate(events) if event.restarted)
    assert numbers(events[at:]) == [str(n) for n in range(150)]
    assert events[-1].result == {"n": 150, "worker": left, "epoch": 2}


async def test_a_killed_caller_is_resumed_from_task_and_position(
    server: EmbeddedServer, transport: NatsTransport, start: StartProcess
) -> None:
    async with agent.serve(server.url):
        caller = await start("caller_app", "200")
        assert caller.stdout is not None
        line = b""
        for _ in range(30):
            line = await caller.stdout.readline()
        caller.kill()
        await caller.wait()
        task_id, position, text = line.decode().split()
        resumed = transport.resume(agent_url=AGENT, task_id=task_id, after=position, timeout_s=8)
        events = [event async for event in resumed]
    assert numbers(events) == [str(n) for n in range(int(text) + 1, 200)]
    assert events[-1].result["n"] == 200


async def test_a_finished_stream_is_resumed_too(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async with agent.serve(server.url):
        async for _ in transport.stream(request("count", {"n": 2000}, task_id="long")):
            pass
        resumed = transport.resume(agent_url=AGENT, task_id="long", after="1.1500")
        events = [event async for event in resumed]
        from_the_start = transport.resume(agent_url=AGENT, task_id="long")
        assert len(numbers([event async for event in from_the_start])) == 2000
    assert numbers(events) == [str(n) for n in range(1500, 2000)]


async def test_a_server_that_restarts_costs_nothing(
    server: EmbeddedServer, transport: NatsTransport, start_replica: StartReplica
) -> None:
    await start_replica()
    events: list[NatsStreamEvent] = []

    async def restart() -> None:
        await server.kill()
        await asyncio.sleep(0.3)
        await server.start()

    restarting = None
    async with asyncio.timeout(9):
        async for event in transport.stream(request("count", {"n": 200, "pause": 0.005})):
            events.append(event)
            if len(events) == 50:
                restarting = asyncio.ensure_future(restart())
    assert restarting is not None
    await restarting
    last = max((index for index, event in enumerate(events) if event.restarted), default=0)
    assert numbers(events[last:]) == [str(n) for n in range(200)]


async def test_a_slow_reader_misses_nothing(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    """What is beyond its buffer is read from the stream."""
    async with agent.serve(server.url):
        events = []
        async for event in transport.stream(request("count", {"n": 6000, "pause": 1e-9})):
            events.append(event)
            if len(events) in (10, 2000):
                await asyncio.sleep(0.5)
    assert numbers(events) == [str(n) for n in range(6000)]


async def test_a_drained_replica_hands_its_call_over(
    transport: NatsTransport, server: EmbeddedServer
) -> None:
    events: list[NatsStreamEvent] = []
    stream = transport.stream(request("count", {"n": 60, "pause": 0.02}))
    async with agent.serve(server.url, drain=0.1):
        while len(events) < 10:
            events.append(await anext(stream))
    async with agent.serve(server.url), asyncio.timeout(9):
        events.extend([event async for event in stream])
    at = next(index for index, event in enumerate(events) if event.restarted)
    assert numbers(events[at:]) == [str(n) for n in range(60)]
