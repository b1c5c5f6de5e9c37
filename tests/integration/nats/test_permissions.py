"""What the server forbids is said by name instead of by a timeout."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ConnectFailed, PermissionDenied
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings, WirePath
from tests.support.eventually import eventually

CONFIG = """
authorization {
  users: [
    { user: app, password: s3cret, permissions: {
        publish: { allow: ["Allowed.>", "_INBOX_app.>"] }
        subscribe: { allow: ["_INBOX_app.>", "Allowed.>"] } } }
    { user: mute, password: s3cret, permissions: { publish: ">", subscribe: { deny: ">" } } }
  ]
}
"""


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer(config=CONFIG, jetstream=False) as server:
        yield server


@pytest.fixture
def settings(server: EmbeddedServer, path: WirePath) -> ConnectionSettings:
    return ConnectionSettings(
        servers=(server.url,),
        path=path,
        user="app",
        password="s3cret",
        inbox_prefix="_INBOX_app",
    )


async def test_a_forbidden_request_fails_by_name_and_others_go_on(connection: Connection) -> None:
    connection.subscribe("Allowed.ask", lambda m: connection.publish(m.reply, m.data))
    denied = [connection.request("Forbidden.Subject", timeout=600) for _ in range(3)]
    allowed = connection.request("Allowed.ask", b"x")
    for future in denied:
        with pytest.raises(PermissionDenied) as caught:
            await future
        assert caught.value.subject == "Forbidden.Subject"
    assert (await allowed).data == b"x"
    assert connection.statistics.denied == 3
    assert connection.statistics.reconnects == 0


async def test_a_forbidden_publish_is_counted_and_told(connection: Connection) -> None:
    told: list[str] = []
    connection.on_denied(told.append)
    connection.publish("Forbidden.Subject")
    await eventually(lambda: told)
    assert told[0].lower() == "forbidden.subject"
    assert connection.is_connected


async def test_a_forbidden_subscription_knows_it(connection: Connection) -> None:
    forbidden = connection.subscribe("Forbidden.>", lambda message: None)
    allowed = connection.subscribe("Allowed.>", lambda message: None)
    await connection.flush()
    await eventually(lambda: forbidden.denied)
    assert not allowed.denied


async def test_a_forbidden_inbox_is_said_when_opening(server: EmbeddedServer) -> None:
    settings = ConnectionSettings(servers=(server.url,), user="app", password="s3cret")
    with pytest.raises(PermissionDenied) as caught:
        await Connection.open(settings)
    assert caught.value.subject.startswith("_INBOX.")


@pytest.mark.parametrize("password", ["wrong", ""])
async def test_a_wrong_password_is_said_when_opening(
    server: EmbeddedServer, path: WirePath, password: str
) -> None:
    settings = ConnectionSettings(servers=(server.url,), path=path, user="app", password=password)
    with pytest.raises(ConnectFailed, match=r"(?i)authorization"):
        await Connection.open(settings)


async def test_credentials_in_the_address_work(server: EmbeddedServer, path: WirePath) -> None:
    settings = ConnectionSettings(
        servers=(f"nats://app:s3cret@127.0.0.1:{server.port}",),
        path=path,
        inbox_prefix="_INBOX_app",
    )
    async with await Connection.open(settings) as connection:
        await connection.flush()


async def test_settings_hide_their_secrets(settings: ConnectionSettings) -> None:
    assert "s3cret" not in repr(settings)
    await asyncio.sleep(0)
