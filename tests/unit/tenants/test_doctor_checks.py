"""What no server of ours can be prepared to show: an old one, a full disk, damaged messages."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from penguiflow_nats.doctor import Case, Facts, diagnose, summary
from penguiflow_nats.doctor_findings import MonitorFacts, ServerFacts, amount, owner, period
from penguiflow_nats.stream_types import AccountInfo, LostData, StreamInfo, StreamState
from penguiflow_nats.streams import Storage, chunk_config, dlq_config, log_config

CASE = Case()
SERVER = ServerFacts(
    version="2.15.1",
    jetstream=True,
    headers=True,
    max_payload=1 << 20,
    auth_required=True,
    tls=True,
)
MONITOR = MonitorFacts(sync_always=True, max_storage=10, disk_free=90, disk_total=100)
STREAMS = {
    config.name: StreamInfo(config=config, state=StreamState())
    for config in (make(CASE.names, Storage()) for make in (log_config, dlq_config, chunk_config))
}
GOOD = Facts(server=SERVER, monitor=MONITOR, account=AccountInfo(), streams=STREAMS)


def ids(facts: Facts) -> dict[str, str]:
    return {each.id: each.severity for each in diagnose(facts, CASE)}


def test_nothing_is_wrong() -> None:
    assert ids(GOOD) == {}


@pytest.mark.parametrize("version", ["2.11.9", "1.0", "", "unknown"])
def test_an_old_server(version: str) -> None:
    assert ids(replace(GOOD, server=replace(SERVER, version=version))) == {
        "server-version": "error"
    }


def test_a_far_server_without_tls() -> None:
    assert ids(replace(GOOD, server=replace(SERVER, tls=False))) == {"server-plain": "warning"}
    assert ids(replace(GOOD, server=replace(SERVER, tls=False, loopback=True))) == {}


@pytest.mark.parametrize(("free", "severity"), [(14, "warning"), (4, "error")])
def test_a_full_disk(free: int, severity: str) -> None:
    seen = replace(MONITOR, max_storage=1, disk_free=free)
    assert ids(replace(GOOD, monitor=seen)) == {"disk-low": severity}


def test_damaged_messages() -> None:
    log = STREAMS["PF_default_0"]
    lost = StreamInfo(config=log.config, state=StreamState(lost=LostData(msgs=[1, 2], bytes=300)))
    assert ids(replace(GOOD, streams={**STREAMS, "PF_default_0": lost})) == {"stream-lost": "error"}


def test_the_worst_comes_first_and_is_counted() -> None:
    facts = replace(GOOD, server=ServerFacts(version="2.1", max_payload=1 << 30), monitor=None)
    found = diagnose(facts, CASE)
    assert [each.severity for each in found] == ["error", *["warning"] * 3, "note"]
    assert summary(found) == "1 error, 3 warnings, 1 note"


def test_numbers_for_people() -> None:
    assert [amount(n) for n in (7, 2048, 5 << 30)] == ["7 B", "2 KiB", "5 GiB"]
    assert [period(s) for s in (0.5, 90, 7200, 172_800)] == ["0.5 s", "1.5 min", "2 h", "2 d"]


def test_an_even_number_of_copies() -> None:
    log = STREAMS["PF_default_0"]
    four = replace_config(log, num_replicas=4)
    server = replace(SERVER, cluster="c", addresses=5)
    three = {name: replace_config(each, num_replicas=3) for name, each in STREAMS.items()}
    assert ids(replace(GOOD, server=server, streams=three)) == {}
    assert ids(replace(GOOD, server=server, streams={**three, "PF_default_0": four})) == {
        "replicas-even": "warning"
    }


def replace_config(stream: StreamInfo, **changes: int) -> StreamInfo:
    config = msgspec.structs.replace(stream.config, **changes)
    return StreamInfo(config=config, state=stream.state)


def test_every_id_is_on_the_page() -> None:
    root = Path(__file__).resolve().parents[3]
    sources = "".join(p.read_text() for p in (root / "penguiflow_nats").glob("doctor_checks_*.py"))
    made = set(re.findall(r'id=f?"([a-z-]+)(?:\{what\})?"', sources)) - {"quota-"}
    made |= {"quota-storage", "quota-streams", "quota-consumers"}
    rows = re.findall(r"^\| (`.*?) \|", (root / "docs" / "doctor.md").read_text(), re.MULTILINE)
    assert made == set(re.findall(r"`([a-z-]+)`", " ".join(rows)))


@pytest.mark.parametrize(
    ("stream", "tenant"),
    [
        ("PF_a_0", "a"),
        ("PF_a_b_DLQ", "a_b"),
        ("KV_PF_a_STATE", "a"),
        ("OBJ_PF_a_STATE_CLAIMS", "a"),
        ("KV_mine", None),
        ("PF_a_other", None),
    ],
)
def test_whose_stream_it_is(stream: str, tenant: str | None) -> None:
    assert owner(stream) == tenant
