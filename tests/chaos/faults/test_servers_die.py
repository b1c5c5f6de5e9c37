"""Cases 6, 7, 8 and 12: servers that are killed, stopped, or lost one after another."""

from __future__ import annotations

import asyncio
import time

import pytest

from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.server_cluster import ServerCluster
from tests.chaos.faults.checks import settled, sound
from tests.chaos.faults.conftest import Open, opener
from tests.chaos.faults.flows import Scene, message
from tests.chaos.faults.lives import Lives, lives

pytestmark = pytest.mark.chaos
LIMIT = 40.0


async def test_case_06_a_server_killed_under_load_loses_no_accepted_trace(
    server: EmbeddedServer, workers: Lives, client_of: Open
) -> None:
    async with client_of("chain") as client:
        for _ in range(2):
            await workers.ready(workers.begin("chain"))
        accepted: list[str] = []

        async def submit() -> None:
            for _ in range(150):
                accepted.append(await client.emit(message()))
                await asyncio.sleep(0.01)

        submitting = asyncio.create_task(submit())
        for _ in range(2):
            await asyncio.sleep(0.4)
            await server.kill()
            await asyncio.sleep(0.2)
            await server.start()
        began = time.monotonic()
        await submitting
        await asyncio.gather(*(client.fetch(trace_id=each, timeout=LIMIT) for each in accepted))
        resumed = time.monotonic() - began
        await settled(client, "first", "second")
        for trace in accepted:
            await sound(client, trace)
    print(f"all results {resumed:.1f} s after the last restart")


async def test_case_07_an_old_duplicate_after_a_restart_changes_nothing(
    server: EmbeddedServer, workers: Lives, client_of: Open, scene: Scene
) -> None:
    async with client_of("chain") as client:
        await workers.ready(workers.begin("chain"))
        msg = message()
        await client.emit(msg, idempotency_key="order-7")
        first = await client.fetch(trace_id=msg.trace_id, timeout=LIMIT)
        await settled(client, "first", "second")
        await server.kill()
        await server.start()
        await client.emit(msg, idempotency_key="order-7")
        async with client_of("chain") as other:
            again = await other.fetch(trace_id=msg.trace_id, timeout=LIMIT)
        assert again.payload == first.payload
        await settled(client, "first", "second")
        assert (scene.runs("first"), scene.runs("second")) == (1, 1)
        await sound(client, msg.trace_id)


@pytest.mark.slow  # its short form is in tests/integration/nats/test_cluster.py
@pytest.mark.timeout(180)
async def test_case_08_of_three_servers_the_leader_and_then_a_follower_are_lost(
    scene: Scene,
) -> None:
    async with ServerCluster() as cluster:
        with lives(cluster.urls, scene, replicas=3, lease=3.0) as workers:
            async with opener(cluster.urls, scene, replicas=3)("chain") as client:
                await workers.ready(workers.begin("chain"))
                log = client.log
                assert isinstance(log, JetStreamLog)
                accepted: list[str] = []
                longest = 0.0

                async def submit() -> None:
                    nonlocal longest
                    for _ in range(120):
                        began = time.monotonic()
                        accepted.append(await client.emit(message()))
                        longest = max(longest, time.monotonic() - began)
                        await asyncio.sleep(0.02)

                submitting = asyncio.create_task(submit())
                leader = await cluster.stream_leader(log.names.log_stream)
                assert leader is not None
                await cluster.kill(leader)
                await asyncio.sleep(1.0)
                await cluster.start(leader)
                await cluster.ready()
                leader = await cluster.stream_leader(log.names.log_stream)
                await cluster.kill(next(n for n in range(3) if n != leader))
                await submitting
                fetches = [client.fetch(trace_id=each, timeout=LIMIT) for each in accepted]
                await asyncio.gather(*fetches)
                for trace in accepted:
                    await sound(client, trace)
    print(f"longest wait of a submission: {longest:.1f} s")


async def test_case_12_a_server_that_was_stopped_leaves_nobody_deaf(
    server: EmbeddedServer, workers: Lives, client_of: Open
) -> None:
    async with client_of("chain") as client:
        await workers.ready(workers.begin("chain"))
        before = [await client.emit(message()) for _ in range(10)]
        server.pause()
        waiting = asyncio.create_task(client.emit(message()))
        await asyncio.sleep(5)
        server.resume()
        trace = await asyncio.wait_for(waiting, LIMIT)
        for each in [*before, trace, await client.emit(message())]:
            assert (await client.fetch(trace_id=each, timeout=LIMIT)).payload
        await settled(client, "first", "second")
