"""TLS stays nats-py's: every path works over it, also with frames in many pieces."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ConnectFailed
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings, WirePath
from tests.support.certificates import make_certificate
from tests.support.eventually import eventually


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a fresh certificate for localhost, and its authority."""
    directory = tmp_path_factory.mktemp("tls")
    make_certificate(directory)
    return directory


@pytest.fixture
async def server(certificate: Path) -> AsyncIterator[EmbeddedServer]:
    files = f'cert_file: "{certificate}/cert.pem", key_file: "{certificate}/key.pem"'
    async with EmbeddedServer(config=f"tls {{ {files} }}") as server:
        yield server


@pytest.fixture
def settings(server: EmbeddedServer, path: WirePath, certificate: Path) -> ConnectionSettings:
    return ConnectionSettings(
        servers=(f"tls://127.0.0.1:{server.port}",),
        path=path,
        tls=ssl.create_default_context(cafile=str(certificate / "authority.pem")),
    )


async def test_requests_large_frames_and_restarts_work_over_tls(
    connection: Connection, server: EmbeddedServer
) -> None:
    connection.subscribe("ask", lambda m: connection.publish(m.reply, m.data, m.headers))
    large = bytes(range(256)) * 3_000
    replies = await asyncio.gather(
        *(connection.request("ask", large[: 1_000 * n], {"N": str(n)}) for n in range(50)),
        connection.request("ask", large),
    )
    assert [len(reply.data) for reply in replies] == [1_000 * n for n in range(50)] + [len(large)]
    assert replies[-1].data == large
    await server.kill()
    await server.start()
    await eventually(lambda: connection.is_connected and connection.statistics.reconnects == 1)
    assert (await connection.request("ask", b"x")).data == b"x"


async def test_an_unknown_certificate_is_refused(server: EmbeddedServer, path: WirePath) -> None:
    settings = ConnectionSettings(servers=(f"tls://127.0.0.1:{server.port}",), path=path)
    with pytest.raises(ConnectFailed, match="certificate"):
        await Connection.open(settings)
