"""Cases 1 to 5, 14, 15 and 22: workers that are killed or stopped at the worst moments."""

from __future__ import annotations

import asyncio
import signal

import pytest

from penguiflow import FlowError
from penguiflow.durable.ledger import TraceStatus
from penguiflow_nats.dead_letters import NatsDeadLetters
from penguiflow_nats.log import JetStreamLog
from tests.chaos.faults.checks import committed, ended, records, settled, sound
from tests.chaos.faults.conftest import Open
from tests.chaos.faults.flows import WIDTH, Scene, message
from tests.chaos.faults.lives import Lives, signal_to
from tests.support.eventually import eventually

pytestmark = pytest.mark.chaos
LIMIT = 40.0


async def test_case_01_killed_within_a_node_it_runs_again_and_one_result_counts(
    workers: Lives, client_of: Open, scene: Scene
) -> None:
    async with client_of("slow") as client:
        first = await workers.ready(workers.begin("slow"))
        trace = await client.emit(message())
        await eventually(lambda: scene.runs("only") == 1, LIMIT)
        signal_to(first, signal.SIGKILL)
        scene.say("go")
        workers.begin("slow")
        result = await client.fetch(trace_id=trace, timeout=LIMIT)
        (record,) = await records(client, trace)
        assert record.delivered == 2
        assert scene.runs("only") == 2
        assert client.codec.unpack_output(record.outputs[0]).payload == result.payload
        await settled(client, "only")
        await sound(client, trace)


@pytest.mark.parametrize("trap", ["after rec", "before ack"])
async def test_cases_02_and_04_killed_between_record_and_ack_nothing_runs_again(
    workers: Lives, client_of: Open, scene: Scene, trap: str
) -> None:
    async with client_of("chain") as client:
        first = workers.begin("chain", trap, nodes=("first",))
        trace = await client.emit(message())
        assert await workers.end(first) == -signal.SIGKILL
        await committed(client, trace)
        workers.begin("chain")
        result = await client.fetch(trace_id=trace, timeout=LIMIT)
        (record,) = await records(client, trace, "first")
        assert result.payload[0] == client.codec.unpack_output(record.outputs[0]).payload
        await settled(client, "first", "second")
        assert (scene.runs("first"), scene.runs("second")) == (1, 1)
        await sound(client, trace)


async def test_case_03_killed_between_two_outputs_the_rest_comes_from_the_same_record(
    workers: Lives, client_of: Open, scene: Scene
) -> None:
    async with client_of("fan") as client:
        first = workers.begin("fan", "after out 3")
        trace = await client.emit(message())
        assert await workers.end(first) == -signal.SIGKILL
        workers.begin("fan")
        found = [(await client.fetch(trace_id=trace, timeout=LIMIT)).payload for _ in range(WIDTH)]
        (record,) = await records(client, trace)
        said = [client.codec.unpack_output(output).payload for output in record.outputs]
        assert sorted(found) == sorted(said)
        await settled(client, "deal")
        assert scene.runs("deal") == 1
        await sound(client, trace)


async def test_cases_05_and_14_stopped_beyond_its_lease_a_worker_changes_nothing_afterwards(
    workers: Lives, client_of: Open, scene: Scene
) -> None:
    async with client_of("slow") as client:
        zombie = await workers.ready(workers.begin("slow"))
        trace = await client.emit(message())
        await eventually(lambda: scene.runs("only") == 1, LIMIT)
        signal_to(zombie, signal.SIGSTOP)
        await workers.ready(workers.begin("slow"))
        await eventually(lambda: scene.runs("only") == 2, LIMIT)
        scene.say("go")
        result = await client.fetch(trace_id=trace, timeout=LIMIT)
        signal_to(zombie, signal.SIGCONT)  # its result is refused, it acks and goes on
        second = await client.emit(message())
        assert (await client.fetch(trace_id=second, timeout=LIMIT)).payload
        await settled(client, "only")
        signal_to(zombie, signal.SIGTERM)
        assert await workers.end(zombie) == 0
        (record,) = await records(client, trace)
        assert client.codec.unpack_output(record.outputs[0]).payload == result.payload
        assert str(zombie.pid) not in record.worker
        await sound(client, trace)


async def test_case_15_what_raises_hangs_or_kills_is_buried_and_neighbours_go_on(
    workers: Lives, client_of: Open, scene: Scene
) -> None:
    async with client_of("poison") as client:

        async def supervise() -> None:
            while True:  # as a process manager does
                await workers.end(workers.begin("poison", max_deliveries=3))

        supervising = asyncio.create_task(supervise())
        traces = {each: await client.emit(message(each)) for each in ("raises", "hangs", "kills")}
        neighbours = [await client.emit(message("fine")) for _ in range(20)]
        for trace in neighbours:
            assert (await client.fetch(trace_id=trace, timeout=LIMIT)).payload
        for trace in traces.values():
            assert await ended(client, trace) is TraceStatus.FAILED
            with pytest.raises(FlowError):
                await client.fetch(trace_id=trace, timeout=LIMIT)
        supervising.cancel()
        assert isinstance(client.log, JetStreamLog)
        letters = await (await NatsDeadLetters.open(client.log)).letters()
        found = {letter.stored.key.trace: letter for letter in letters}
        assert {trace: found[trace].reason for trace in traces.values()} == {
            traces["raises"]: "failed",
            traces["hangs"]: "failed",
            traces["kills"]: "poison",
        }
        assert "ValueError: always" in found[traces["raises"]].detail
        assert "timed out" in found[traces["hangs"]].detail
        assert scene.runs("kills") == 3
        assert len(letters) == 3


@pytest.mark.parametrize("trap", ["before rec 2", "after rec 2"])
async def test_case_22_a_join_whose_worker_is_killed_at_its_commit_is_emitted_once(
    workers: Lives, client_of: Open, scene: Scene, trap: str
) -> None:
    async with client_of("joined") as client:
        first = workers.begin("joined", trap, nodes=("deal", "join"))
        trace = await client.emit(message())
        assert await workers.end(first) == -signal.SIGKILL
        for _ in range(2):  # two who may both see the last arrival
            workers.begin("joined")
        result = await client.fetch(trace_id=trace, timeout=LIMIT)
        assert len(set(result.payload)) == WIDTH
        assert len(await records(client, trace, "join")) == 1
        await settled(client, "deal", "join", "last")
        await sound(client, trace, "join")
