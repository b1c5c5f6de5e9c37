"""A real server is prepared to fail each check, and the doctor names it, with evidence and fix."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import msgspec
import pytest

from penguiflow import NodePolicy
from penguiflow_nats.connection import Connection
from penguiflow_nats.doctor import CHECKS, Case, diagnose, look
from penguiflow_nats.errors import NatsError
from penguiflow_nats.server_cluster import ServerCluster
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.stream_types import ConsumerConfig
from penguiflow_nats.streams import Storage, chunk_config, dlq_config, log_config
from penguiflow_nats.subjects import Names
from tests.integration.doctor.conftest import SMALL, Patient, flow_of

DEFAULT = ('jetstream { store_dir: "STORE", max_file_store: 50MB }',)


async def test_a_good_set_up_has_no_finding_but_its_open_door(patient: Patient) -> None:
    await patient.prepare()
    assert set(await patient.findings()) <= {"server-open", "disk-low", "disk-promised"}


@pytest.mark.parametrize("config", [""])
async def test_jetstream_is_off(patient: Patient) -> None:
    patient.monitor = ""
    found = (await patient.findings())["jetstream-off"]
    assert found.severity == "error"
    assert "JetStream is off" in found.evidence


async def test_nothing_is_there_yet(patient: Patient) -> None:
    found = await patient.findings()
    assert "PF_default_0" in found["stream-missing"].evidence
    assert found["stream-missing"].severity == "warning"
    assert (await patient.findings(flow=None))["stream-missing"].severity == "note"


@pytest.mark.parametrize("config", ['jetstream { store_dir: "STORE" }\nmax_payload: 64KB'])
async def test_messages_must_be_small(patient: Patient) -> None:
    assert (await patient.findings())["payload-small"].severity == "error"


@pytest.mark.parametrize("config", ['jetstream { store_dir: "STORE" }\nmax_payload: 32MB'])
async def test_messages_may_be_huge(patient: Patient) -> None:
    assert "32 MiB" in (await patient.findings())["payload-large"].evidence


async def test_a_stream_takes_less_than_the_server(patient: Patient) -> None:
    await patient.prepare(max_msg_size=1000)
    found = (await patient.findings())["payload-stream"]
    assert found.fix == "nats stream edit PF_default_0 --max-msg-size=-1"


@pytest.mark.parametrize("config", DEFAULT)
async def test_a_power_failure_would_lose_results(patient: Patient) -> None:
    await patient.prepare()
    found = (await patient.findings())["sync-interval"]
    assert "2 min" in found.evidence
    patient.monitor = ""
    assert (await patient.findings())["sync-unknown"].severity == "note"


@pytest.mark.parametrize(("off", "severity"), [(5.0, "warning"), (-3600.0, "error")])
async def test_this_clock_is_wrong(patient: Patient, off: float, severity: str) -> None:
    patient.now = lambda: time.time() + off
    found = (await patient.findings())["clock-offset"]
    assert found.severity == severity
    assert ("behind" if off < 0 else "ahead of") in found.evidence


@pytest.mark.parametrize("config", ['jetstream { store_dir: "STORE", max_file_store: 3500000 }'])
async def test_the_server_has_promised_its_room(patient: Patient) -> None:
    await patient.prepare()
    assert "server-storage" in await patient.findings()


@pytest.mark.parametrize("config", ['jetstream { store_dir: "STORE", max_file_store: 900TB }'])
async def test_the_disk_holds_less_than_is_promised(patient: Patient) -> None:
    await patient.prepare()
    assert "disk-promised" in await patient.findings()


ACCOUNT = """
jetstream { store_dir: "STORE", sync_interval: always }
accounts { A { jetstream: { max_file: 3MB, max_streams: 3, max_consumers: 2 },
               users: [ { user: a, password: a } ] } }
no_auth_user: a
"""


@pytest.mark.parametrize("config", [ACCOUNT])
async def test_an_account_is_at_its_quotas(patient: Patient) -> None:
    await patient.prepare()
    found = await patient.findings()
    assert found["quota-streams"].severity == "error"
    assert found["quota-streams"].where == "account A"
    assert found["quota-storage"].severity == "warning"


async def test_two_tenants_share_an_account(patient: Patient) -> None:
    await patient.prepare()
    assert "not-isolated" not in await patient.findings()
    await patient.jetstream.create_stream(log_config(Names("globex", "f"), SMALL))
    found = (await patient.findings())["not-isolated"]
    assert found.severity == "error"
    assert found.evidence.startswith("not isolated: it holds streams of 2 tenants")
    assert "penguiflow tenants config" in found.fix


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_cluster_holds_one_copy_and_two(patient: Patient) -> None:
    case = Case(flow=flow_of())
    async with (
        ServerCluster() as cluster,
        await Connection.open(ConnectionSettings(servers=cluster.urls)) as connection,
    ):
        other = Patient(connection, "")
        await other.jetstream.create_stream(log_config(case.names, SMALL))
        two = Storage(dlq_bytes=1000, replicas=2)
        await other.jetstream.create_stream(dlq_config(case.names, two))
        three = Storage(chunk_bytes=1000, replicas=3)
        await other.jetstream.create_stream(chunk_config(case.names, three))
        facts = await look(connection, case, interval=0.0)
        named = [(f.where, f.evidence) for f in diagnose(facts, case) if f.id == "replicas"]
        assert [where for where, _ in named] == ["stream PF_default_0", "stream PF_default_DLQ"]
        assert named[0][1].startswith("1 of 3 servers")

        chunks, log = "stream PF_default_CHUNKS", "stream PF_default_0"
        expected = {("replica-behind", chunks), ("stream-offline", log)}
        alone = await cluster.stream_leader("PF_default_0")
        assert alone is not None
        await cluster.kill(alone)
        found = set[tuple[str, str]]()
        async with asyncio.timeout(45):
            while not expected <= found:
                await asyncio.sleep(0.2)
                with contextlib.suppress(NatsError):
                    facts = await look(connection, case, interval=0.0)
                    found = {(f.id, f.where) for f in diagnose(facts, case)}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"max_msgs_per_subject": -1, "discard_new_per_subject": False}, "max_msgs_per_subject"),
        ({"discard": "old", "discard_new_per_subject": False}, "discard is old"),
        ({"retention": "workqueue"}, "retention is workqueue"),
        ({"allow_direct": False}, "allow_direct is False"),
        ({"allow_msg_ttl": False}, "allow_msg_ttl is False"),
        ({"storage": "memory"}, "storage is memory"),
    ],
)
async def test_the_log_is_not_as_it_should_be(
    patient: Patient, changes: dict[str, Any], says: str
) -> None:
    case = patient.case
    wanted = log_config(case.names, SMALL)
    await patient.jetstream.create_stream(msgspec.structs.replace(wanted, **changes))
    facts = await look(patient.connection, case, interval=0.0)
    drift = [f for f in diagnose(facts, case) if f.id == "stream-drift"]
    assert any(says in each.evidence for each in drift)
    assert {each.severity for each in drift} == {"error"}
    assert all("nats stream" in each.fix for each in drift)


async def test_the_log_is_nearly_full(patient: Patient) -> None:
    await patient.prepare()
    await patient.submit(7, b"x" * 95_000)
    assert (await patient.findings())["stream-filling"].severity == "warning"
    await patient.submit(2, b"x" * 95_000, start=7)
    assert (await patient.findings())["stream-filling"].severity == "error"


async def test_dead_letters_wait(patient: Patient) -> None:
    await patient.prepare()
    for number in range(3):
        await patient.jetstream.append(f"pf.v1.default.dlq.checked-1.first.t{number}.i", b"x")
    found = (await patient.findings())["dead-letters"]
    assert found.evidence.startswith("3 dead letters wait: 3 of checked-1 first")


async def test_a_node_was_never_hosted_and_another_is_not_of_the_flow(patient: Patient) -> None:
    await patient.prepare()
    names = patient.case.names
    await patient.jetstream.delete_consumer(names.log_stream, names.consumer("second"))
    stray = ConsumerConfig(
        durable_name=names.consumer("former"), filter_subject="pf.v1.default.0.x"
    )
    await patient.jetstream.create_consumer(names.log_stream, stray)
    found = await patient.findings()
    assert found["consumer-missing"].where == "node second"
    assert "former" in found["consumer-orphan"].where


@pytest.mark.parametrize(
    ("changes", "says", "severity"),
    [
        ({"filter_subjects": ["pf.v1.default.0.checked-1.in.*.*.*"]}, "not pf.v1", "error"),
        ({"max_deliver": 5}, "max_deliver is 5", "error"),
        ({"ack_wait": 60_000_000_000}, "the lease meant is 15 s", "warning"),
        ({"pause_until": "2199-01-01T00:00:00Z"}, "paused", "error"),
    ],
)
async def test_a_consumer_was_changed(
    patient: Patient, changes: dict[str, Any], says: str, severity: str
) -> None:
    await patient.prepare()
    names = patient.case.names
    await patient.jetstream.delete_consumer(names.log_stream, names.consumer("first"))
    await patient.consumer("first", **changes)
    found = (await patient.findings())["consumer-drift"]
    assert says in found.evidence
    assert found.severity == severity


async def test_policies_do_not_fit_lease_window_and_retention(patient: Patient) -> None:
    await patient.prepare()
    slow = flow_of(NodePolicy(timeout_s=3600.0, max_retries=200, max_backoff=600.0))
    found = await patient.findings(flow=slow, workers=200)
    assert "timeout_s is 1 h" in found["node-timeout"].evidence
    assert "max_ack_pending is 8192" in found["ack-pending"].evidence
    assert found["retry-horizon"].severity == "error"
    endless = flow_of(NodePolicy(max_retries=10**9, max_backoff=1.0))
    found = await patient.findings(flow=endless)
    assert {"node-unbounded", "retry-horizon"} <= set(found)


async def test_entries_wait_and_nobody_asks_for_them(patient: Patient) -> None:
    await patient.prepare()
    await patient.submit(3)
    found = (await patient.findings())["backlog-unserved"]
    assert found.severity == "error"
    assert found.evidence.startswith("3 entries wait")


async def pull(patient: Patient, count: int, taken: list[Any]) -> None:
    """Take messages and keep asking, as a worker does."""
    names = patient.case.names
    inbox = patient.connection.new_inbox()
    patient.connection.subscribe(inbox, taken.append)
    subject = f"$JS.API.CONSUMER.MSG.NEXT.{names.log_stream}.{names.consumer('first')}"
    patient.connection.publish(subject, b'{"batch":%d,"expires":9000000000}' % count, reply=inbox)
    await patient.connection.flush()


async def test_a_backlog_grows_and_its_end_is_foreseen(patient: Patient) -> None:
    await patient.prepare()
    await patient.submit(5)
    await pull(patient, 2, [])
    patient.interval = 1.0
    growing = asyncio.create_task(patient.submit(40, b"x" * 10_000, start=5))
    found = (await patient.findings())["backlog-grows"]
    await growing
    assert "more each second; the log refuses submissions in about" in found.evidence


async def test_a_backlog_shrinks(patient: Patient) -> None:
    await patient.prepare()
    await patient.submit(30)
    taken: list[Any] = []
    await pull(patient, 20, taken)
    patient.interval = 0.5

    async def work() -> None:
        await asyncio.sleep(0.2)
        for message in taken:
            patient.connection.publish(message.reply, b"+ACK")
        await pull(patient, 1, taken)

    working = asyncio.create_task(work())
    found = (await patient.findings())["backlog"]
    await working
    assert found.severity == "note"
    assert "done in about" in found.evidence


async def test_all_that_may_be_in_work_is(patient: Patient) -> None:
    await patient.prepare()
    await patient.consumer("first", max_ack_pending=2)
    await patient.submit(5)
    await pull(patient, 5, [])
    found = (await patient.findings())["backlog-stuck"]
    assert "2 entries are in work, which is max_ack_pending; 3 more" in found.evidence


async def test_every_check_is_on_the_list_once() -> None:
    assert len(set(CHECKS)) == len(CHECKS) >= 18
