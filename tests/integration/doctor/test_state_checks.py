"""Buckets and agents that are prepared to fail their checks on a real server."""

from __future__ import annotations

import msgspec
import pytest

from penguiflow.state.records import StoredEvent
from penguiflow_nats.agent import Skill, serve
from penguiflow_nats.call_streams import CallStorage
from penguiflow_nats.kv_bucket import BucketLimits
from penguiflow_nats.state_store import NatsStateStore
from penguiflow_nats.transport import NatsTransport
from tests.integration.doctor.conftest import Patient
from tests.integration.remote.calls import request

OWN = ("bucket-", "agent-")
FEW = CallStorage(calls_bytes=2_000_000, replies_bytes=2_000_000)


async def own_findings(patient: Patient) -> dict[str, object]:
    found = await patient.findings()
    return {name: each for name, each in found.items() if name.startswith(OWN)}


async def test_buckets_as_they_are_made_have_no_finding(patient: Patient) -> None:
    await patient.prepare()
    async with NatsStateStore(patient.connection, tenant="default") as store:
        await store.artifact_store.put_bytes(b"x")
        await store.save_memory_state("large", {"text": "x" * 600_000})
    assert await own_findings(patient) == {}


@pytest.mark.parametrize("stream", ["KV_PF_default_STATE", "OBJ_PF_default_STATE_CLAIMS"])
async def test_a_bucket_that_pushes_out_what_is_old(patient: Patient, stream: str) -> None:
    await patient.prepare()
    async with NatsStateStore(patient.connection, tenant="default"):
        pass
    config = (await patient.jetstream.stream_info(stream)).config
    await patient.jetstream.update_stream(msgspec.structs.replace(config, discard="old"))
    found = (await patient.findings())["bucket-drift"]
    assert found.severity == "error"
    assert found.fix == f"nats stream edit {stream} --discard=new"


async def test_a_bucket_that_is_almost_full(patient: Patient) -> None:
    await patient.prepare()
    limits = BucketLimits(max_bytes=100_000)
    async with NatsStateStore(patient.connection, tenant="default", limits=limits) as store:
        for number in range(10):
            event = StoredEvent("t", 1.0, "k", "n", "i", {"x": "x" * 6_500}, event_id=f"e{number}")
            await store.save_event(event)
    found = (await patient.findings())["bucket-filling"]
    assert found.severity == "warning"
    assert "--max-bytes=200000" in found.fix


async def answer(message: object, ctx: object) -> str:
    return "done"


async def test_calls_that_no_replica_takes(patient: Patient) -> None:
    await patient.prepare()
    skills = [Skill("answer", answer)]
    async with (
        serve(None, patient.connection, agent="tester", skills=skills, storage=FEW),
        NatsTransport(patient.connection, storage=FEW) as transport,
    ):
        await transport.send(request("answer", 1))
        assert await own_findings(patient) == {}
    async with NatsTransport(patient.connection, storage=FEW, agent_wait=None) as transport:
        await transport.send_task(request("answer", 2))
        found = (await patient.findings())["agent-unserved"]
    assert found.evidence == "1 calls wait, and no replica of tester asks for them"


async def test_an_agents_consumer_that_gives_up(patient: Patient) -> None:
    await patient.prepare()
    async with serve(
        None, patient.connection, agent="tester", skills=[Skill("answer", answer)], storage=FEW
    ):
        info = await patient.jetstream.consumer_info("PF_default_CALLS", "agent_tester")
        changed = msgspec.structs.replace(info.config, max_deliver=3)
        await patient.jetstream.create_consumer("PF_default_CALLS", changed)
        found = (await patient.findings())["agent-drift"]
    assert "max_deliver is 3" in found.evidence
