"""Commands on a server that asks who they are: every form of credentials, and no secret shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import nkeys
import pytest

from penguiflow.state.records import StoredEvent
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.state_store import NatsStateStore
from tests.acceptance.cli_process import run

PASSWORD = "not-to-be-shown"


class Guarded:
    """A server with a user by password and one by nkey, and a history in its store."""

    def __init__(self, server: EmbeddedServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.asked = ("history", "t", "--nats", server.url)

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Guarded]:
    pair = nkeys.from_seed(nkeys.encode_seed(bytes(range(32)), nkeys.PREFIX_BYTE_USER))
    public = pair.public_key.decode()
    config = f"""
authorization {{ users: [
  {{ user: "app", password: "{PASSWORD}", permissions: {{
     publish: ">", subscribe: ["_INBOX_app.>"] }} }}
  {{ nkey: "{public}" }}
] }}
"""
    async with EmbeddedServer(config=config) as server:
        site = Guarded(server, tmp_path)
        site.file("user.nk", pair.seed.decode() + "\n")
        settings = ConnectionSettings(servers=(server.url,), nkey_seed=str(tmp_path / "user.nk"))
        async with NatsStateStore(settings, tenant="default") as store:
            await store.save_event(StoredEvent("t", 1.0, "kind", "node", "id", {}, event_id="e"))
        yield site


async def test_user_with_a_password_from_a_file(guarded: Guarded) -> None:
    file = guarded.file("password", PASSWORD + "\n")
    options = ("--user", "app", "--password-file", file, "--inbox-prefix", "_INBOX_app")
    done = run(*guarded.asked, *options, cwd=guarded.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert '"event_id":"e"' in done.stdout


async def test_nkey_from_a_file(guarded: Guarded) -> None:
    seed = str(guarded.folder / "user.nk")
    done = run(*guarded.asked, "--nkey", seed, cwd=guarded.folder)
    assert (done.returncode, done.stderr) == (0, "")


async def test_without_or_with_wrong_credentials_the_server_refuses(guarded: Guarded) -> None:
    file = guarded.file("password", "wrong-one")
    for options in ((), ("--user", "app", "--password-file", file)):
        done = run(*guarded.asked, *options, cwd=guarded.folder)
        assert done.returncode == 1
        assert "uthorization" in done.stderr
        assert "wrong-one" not in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--user", "app"), "--user and --password-file belong together"),
        (("--nkey", "a", "--creds", "b"), "two ways to say who connects"),
        (("--creds", "not-there.creds"), "not-there.creds cannot be read"),
        (("--tls-ca", "not-there.pem"), "not-there.pem holds no certificates"),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = run("history", "t", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
