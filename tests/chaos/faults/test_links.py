"""Cases 9, 10, 11 and 20: links that are cut, swallow everything, or come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from penguiflow.durable.ledger import TraceStatus
from penguiflow.errors import TraceCancelled
from penguiflow_nats.server import EmbeddedServer
from tests.chaos.faults.checks import ended, records, settled, sound
from tests.chaos.faults.conftest import Open, opener
from tests.chaos.faults.flows import Scene, message
from tests.chaos.faults.lives import LEASE, Lives, lives
from tests.support.eventually import eventually
from tests.support.proxy import Direction, FaultProxy

pytestmark = pytest.mark.chaos
LIMIT = 40.0


@pytest.fixture
async def proxy(server: EmbeddedServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(server.port) as proxy:
        yield proxy


async def test_case_09_a_link_that_is_reset_during_a_submission_stores_it_once(
    proxy: FaultProxy, workers: Lives, scene: Scene
) -> None:
    async with opener((proxy.url,), scene)("chain") as client:
        await workers.ready(workers.begin("chain"))
        traces = []
        for round_ in range(6):
            emits = [asyncio.create_task(client.emit(message())) for _ in range(5)]
            await asyncio.sleep(0.002 * round_)
            proxy.cut()
            traces += await asyncio.gather(*emits)
        await asyncio.gather(*(client.fetch(trace_id=each, timeout=LIMIT) for each in traces))
        for trace in traces:
            assert (await client.books(trace)).submissions == 1
            await sound(client, trace)


@pytest.mark.parametrize(
    "directions",
    [
        (),
        pytest.param(("to_server",), marks=pytest.mark.slow),
        pytest.param(("to_client",), marks=pytest.mark.slow),
    ],
)
async def test_case_10_a_worker_in_a_black_hole_commits_nothing_once_its_lease_is_over(
    server: EmbeddedServer,
    proxy: FaultProxy,
    scene: Scene,
    client_of: Open,
    directions: tuple[Direction, ...],
) -> None:
    async with client_of("slow") as client:
        with lives((proxy.url,), scene) as lost, lives((server.url,), scene) as there:
            cut_off = await lost.ready(lost.begin("slow"))
            trace = await client.emit(message())
            await eventually(lambda: scene.runs("only") == 1, LIMIT)
            proxy.black_hole(*directions)
            await asyncio.sleep(LEASE)  # no heartbeat gets through
            await there.ready(there.begin("slow"))
            await eventually(lambda: scene.runs("only") == 2, LIMIT)
            scene.say("go")
            result = await client.fetch(trace_id=trace, timeout=LIMIT)
            proxy.heal()
            await settled(client, "only")
            second = await client.emit(message())
            await client.fetch(trace_id=second, timeout=LIMIT)
            (record,) = await records(client, trace)
            if directions != ("to_client",):  # else its heartbeats and its result may arrive
                assert str(cut_off.pid) not in record.worker
            assert client.codec.unpack_output(record.outputs[0]).payload == result.payload
            await sound(client, trace)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("cuts", [10, pytest.param(100, marks=pytest.mark.slow)])
async def test_case_11_over_a_link_that_comes_and_goes_work_is_done(
    proxy: FaultProxy, scene: Scene, client_of: Open, cuts: int
) -> None:
    async with client_of("chain") as client:
        with lives((proxy.url,), scene) as workers:
            await workers.ready(workers.begin("chain"))
            traces = []
            for _ in range(cuts):
                traces += [await client.emit(message()) for _ in range(5)]
                await asyncio.sleep(0.3)
                proxy.cut()
            await asyncio.gather(*(client.fetch(trace_id=each, timeout=LIMIT) for each in traces))
            await settled(client, "first", "second")
            for trace in traces:
                await sound(client, trace)


async def test_case_20_a_cancel_reaches_a_worker_that_was_away_when_it_was_made(
    proxy: FaultProxy, scene: Scene, client_of: Open
) -> None:
    async with client_of("slow") as client:
        with lives((proxy.url,), scene) as workers:
            worker = await workers.ready(workers.begin("slow"))
            trace = await client.emit(message())
            await eventually(lambda: scene.runs("only") == 1, LIMIT)
            proxy.refuse()
            proxy.cut()
            assert await client.cancel(trace) is True
            assert await client.cancel(trace) is True  # twice is once
            await proxy.accept()
            second = await client.emit(message())
            await eventually(lambda: scene.runs("only") == 2, LIMIT)
            scene.say("go")
            assert (await client.fetch(trace_id=second, timeout=LIMIT)).payload
            assert await ended(client, trace) is TraceStatus.CANCELLED
            with pytest.raises(TraceCancelled):
                await client.fetch(trace_id=trace, timeout=LIMIT)
            assert await records(client, trace) == []
            assert worker.exitcode is None
            await settled(client, "only")


async def test_case_20_a_trace_that_was_cancelled_before_its_start_does_not_run(
    workers: Lives, scene: Scene, client_of: Open
) -> None:
    async with client_of("slow") as client:
        trace = await client.emit(message())
        assert await client.cancel(trace) is True
        scene.say("go")
        await workers.ready(workers.begin("slow"))
        other = await client.emit(message())
        assert (await client.fetch(trace_id=other, timeout=LIMIT)).payload
        assert scene.runs("only") == 1
        assert await ended(client, trace) is TraceStatus.CANCELLED
