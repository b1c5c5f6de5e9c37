"""The list of tenants: what it asks for is checked before it reaches a server."""

from __future__ import annotations

import pytest

from penguiflow_nats.tenancy import BadTenants, read_tenants, size
from penguiflow_nats.tenancy_config import app_publishes, server_config

ONE = '[[tenant]]\nname = "acme"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "missing required field `tenant`"),
        ("tenant = []", "there is none"),
        ("[[tenant", "Expected"),
        (ONE + ONE, "tenant: given twice: acme"),
        (ONE + '[[tenant]]\nname = "ACME"\n', "account: given twice: t_acme"),
        (ONE + 'disc = "1GB"\n', "unknown field `disc`"),
        (ONE + 'disk = "1PB"\n', "is no size"),
        (ONE + 'disk = "0"\n', "is no size"),
        (ONE + "ack_pending = 10\n", "at least 1000000"),
        (ONE + "streams = 0\n", "between 1 and"),
        (ONE + 'agents = ["a.b"]\n', "no name of an agent"),
        (ONE + 'agents = ["a", "a"]\n', "given twice: a"),
        (ONE + 'max_payload = "2MB"\n', "larger than the server's"),
        (ONE + 'app = { password = "s3cret" }\n', "not the password itself"),
        (ONE + 'app = { nkey = "SUA" }\n', "public key"),
        (ONE + 'app = { password = "A", nkey = "U' + "A" * 55 + '" }\n', "choose one"),
        (ONE + 'app = { password = "X" }\nworker = { password = "X" }\n', "variable: given twice"),
        (ONE + 'disk = "90GB"\n', "add up to"),
        (ONE + '[server]\nname = "x\\"; trace: true"\n', "not allowed"),
        (ONE + '[server]\nsync_interval = "sometimes"\n', "write always"),
        (ONE + '[server.tls]\ncert_file = "c"\nkey_file = "k"\nverify = true\n', "needs ca_file"),
        ('[[tenant]]\nname = "a b"\n', "a name has"),
        ('[[tenant]]\nname = "a\\n}"\n', "a name has"),
        ('[[tenant]]\nname = ""\n', "a name has"),
    ],
)
def test_what_cannot_be_is_refused_with_the_place(text: str, says: str) -> None:
    with pytest.raises(BadTenants) as caught:
        read_tenants(text)
    assert says in str(caught.value)


def test_sizes() -> None:
    assert [size(text) for text in ("7", "1KB", "2 MB", "3GB")] == [7, 1024, 2 << 20, 3 << 30]


def test_a_name_that_is_no_token_is_hashed_alike_everywhere() -> None:
    tenant = read_tenants('[[tenant]]\nname = "acme.eu"\n').tenant[0]
    assert tenant.token.startswith("_h_acme_eu-")
    assert tenant.account == f"T_{tenant.token}"
    assert app_publishes(tenant)[0] == f"pf.v1.{tenant.token}.0.*.in.*._.*"


def test_names_that_look_alike_have_passwords_of_their_own() -> None:
    text = ONE.replace("acme", "a-b") + ONE.replace("acme", "a_b")
    variables = read_tenants(text).variables()
    assert len(set(variables)) == len(variables) == 5


def test_no_permission_of_an_app_reaches_another_tenant() -> None:
    tenant = read_tenants(ONE).tenant[0]
    for subject in app_publishes(tenant):
        assert any(own in subject for own in (".acme.", "PF_acme_")), subject


def test_tls_and_monitoring_are_written_when_asked_for() -> None:
    text = ONE + '[server]\nmonitor = "127.0.0.1:8222"\n[server.tls]\ncert_file = "/c"\n'
    config = server_config(read_tenants(text + 'key_file = "/k"\nca_file = "/a"\nverify = true\n'))
    assert 'http: "127.0.0.1:8222"' in config
    assert '  ca_file: "/a"\n  verify: true\n' in config
    assert "tls" not in server_config(read_tenants(ONE))
