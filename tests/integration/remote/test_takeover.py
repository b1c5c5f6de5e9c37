"""A replica is killed in the middle of an answer, and another one goes on with it."""

from __future__ import annotations

import asyncio
import signal

import pytest

from penguiflow import PenguiFlow
from penguiflow.node import Node
from penguiflow_nats.agent import BadHandler, Skill, serve
from penguiflow_nats.answer import NatsStreamEvent
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport
from tests.integration.remote.agent_app import agent
from tests.integration.remote.calls import AGENT, request
from tests.integration.remote.conftest import Process, StartReplica


def numbers(events: list[NatsStreamEvent]) -> list[str]:
    return [event.text for event in events if event.text is not None]


def workers(events: list[NatsStreamEvent]) -> list[int]:
    """The processes in the order in which they streamed."""
    told = [event.meta["worker"] for event in events if event.text and event.meta]
    return [each for index, each in enumerate(told) if index == 0 or told[index - 1] != each]


async def two(start_replica: StartReplica) -> dict[int, Process]:
    replicas = await asyncio.gather(start_replica(), start_replica())
    return {replica.pid: replica for replica in replicas}


async def test_a_killed_replica_is_continued(
    transport: NatsTransport, start_replica: StartReplica
) -> None:
    replicas = await two(start_replica)
    events: list[NatsStreamEvent] = []
    async with asyncio.timeout(30):
        async for event in transport.stream(request("tell", {"n": 100, "pause": 0.005})):
            events.append(event)
            if len(numbers(events)) == 20 and len(replicas) == 2:
                replicas.pop(event.meta["worker"]).kill()
    assert not any(event.restarted for event in events)
    assert numbers(events) == [str(n) for n in range(100)]
    assert len(workers(events)) == 2
    kept = events[-1].result["kept"]
    assert events[-1].result["epoch"] == 2
    assert kept == [str(n) for n in range(len(kept))]
    assert len(kept) >= 20


async def test_a_replica_that_was_paused_adds_nothing_to_what_another_continues(
    transport: NatsTransport, start_replica: StartReplica
) -> None:
    replicas = await two(start_replica)
    events: list[NatsStreamEvent] = []
    paused: Process | None = None
    async with asyncio.timeout(30):
        async for event in transport.stream(request("tell", {"n": 150, "pause": 0.01})):
            events.append(event)
            if len(numbers(events)) == 20 and paused is None:
                paused = replicas.pop(event.meta["worker"])
                paused.send_signal(signal.SIGSTOP)
            if paused is not None and event.meta and event.meta.get("worker") in replicas:
                paused.send_signal(signal.SIGCONT)
    assert not any(event.restarted for event in events)
    assert numbers(events) == [str(n) for n in range(150)]
    assert len(workers(events)) == 2


async def test_a_caller_resumes_behind_a_takeover_by_a_position_before_it(
    transport: NatsTransport, start_replica: StartReplica
) -> None:
    replicas = await two(start_replica)
    positions: list[str] = []
    call = request("tell", {"n": 60, "pause": 0.005}, task_id="told")
    async with asyncio.timeout(30):
        async for event in transport.stream(call):
            if event.text is not None:
                positions.append(event.position)
            if len(positions) == 15 and len(replicas) == 2:
                replicas.pop(event.meta["worker"]).kill()
    for taken in (10, 30, 60):
        resumed = transport.resume(
            agent_url=AGENT, task_id="told", after=positions[taken - 1], timeout_s=30
        )
        events = [event async for event in resumed]
        assert numbers(events) == [str(n) for n in range(taken, 60)]
        assert not any(event.restarted for event in events)


async def test_discovery_tells_how_a_skill_is_taken_over(server: EmbeddedServer) -> None:
    async with agent.serve(server.url) as replica:
        modes = {name: each.metadata["takeover"] for name, each in replica._endpoints.items()}
    assert modes["tell"] == "continue"
    assert modes["count"] == "restart"


async def test_a_flow_is_not_served_as_one_that_continues(server: EmbeddedServer) -> None:
    async def node(message: object, ctx: object) -> object:
        return message

    flow = PenguiFlow(Node(node, name="only").to())
    with pytest.raises(BadHandler, match="cannot continue"):
        async with serve(
            server=server.url, agent="flow", skills=[Skill("s", flow, takeover="continue")]
        ):
            pass
