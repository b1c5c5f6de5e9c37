"""What a tenant's subjects are called over imports, and what the configuration says of it."""

from __future__ import annotations

import pytest

from penguiflow_nats.errors import NotImported
from penguiflow_nats.imports import Import
from penguiflow_nats.tenancy import read_tenants
from penguiflow_nats.tenancy_config import server_config

ACME = Import("acme")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("$JS.API.INFO", "JS.acme.API.INFO"),
        ("$JS.ACK.PF_acme_0.c.1.2.3.4.0", "JS.acme.ACK.PF_acme_0.c.1.2.3.4.0"),
        ("$KV.pf.key", "JS.acme.KV.pf.key"),
        ("$O.pf.C.x", "JS.acme.O.pf.C.x"),
        ("pf.v1.acme.0.f.in.t.n.i", "pf.v1.acme.0.f.in.t.n.i"),
        ("pf.v1.acme.ctl.f.cancel", "pf.v1.acme.ctl.f.cancel"),
    ],
)
def test_a_subject_that_is_asked_goes_there_and_back(theirs: str, ours: str) -> None:
    assert ACME.to_ask(theirs) == ours
    assert ACME.theirs(ours) == theirs


def test_what_is_heard_has_another_name_than_what_is_sent() -> None:
    assert ACME.to_hear("pf.v1.acme.ctl.f.>") == "JS.acme.HEAR.pf.v1.acme.ctl.f.>"
    assert ACME.theirs("JS.acme.HEAR.pf.v1.acme.ctl.f.x") == "pf.v1.acme.ctl.f.x"


@pytest.mark.parametrize(
    "subject",
    [
        "pf.v1.globex.0.f.in.t.n.i",
        "pf.v1.acme2.0.f.in.t.n.i",
        "JS.globex.API.INFO",
        "JS.acme.API.INFO",
        "pf.v1.acme.ask.summary",
        "$SRV.PING",
        "_INBOX.somebody",
        ">",
        "pf.v1.acme.>",
    ],
)
def test_nothing_else_goes_out(subject: str) -> None:
    with pytest.raises(NotImported, match="acme"):
        ACME.to_ask(subject)
    with pytest.raises(NotImported, match="acme"):
        ACME.to_hear(subject)


LIST = '[[tenant]]\nname = "acme"\nshared_workers = true\n[[tenant]]\nname = "globex"\n'


def test_only_a_tenant_that_says_so_is_exported_and_only_to_the_workers() -> None:
    config = server_config(read_tenants(LIST))
    acme, _, globex = config.partition("T_globex {")
    exports = [line for line in acme.splitlines() if "{ service:" in line or "{ stream:" in line]
    assert len(exports) == len(ACME.asked) + len(ACME.heard)
    assert all("accounts: [WORKERS]" in line for line in exports)
    assert "exports" not in globex
    assert "account: T_globex" not in config
    assert "PENGUIFLOW_WORKERS" in read_tenants(LIST).variables()


def test_without_such_a_tenant_there_is_no_account_of_workers() -> None:
    plain = read_tenants(LIST.replace("shared_workers = true\n", ""))
    assert "WORKERS" not in server_config(plain)
    assert "PENGUIFLOW_WORKERS" not in plain.variables()


def test_the_way_back_is_kept_for_pulls_and_reads_alone() -> None:
    lines = server_config(read_tenants(LIST)).splitlines()
    kept = [line.split('"')[1] for line in lines if "response_type: stream" in line]
    assert kept == ["$JS.API.CONSUMER.MSG.NEXT.>", "$JS.API.DIRECT.GET.>"]
