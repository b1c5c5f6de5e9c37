"""A real server per test, and a connection over each way through nats-py."""

from collections.abc import AsyncIterator

import pytest

from penguiflow_nats.connection import Connection
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings, WirePath

PATHS: tuple[WirePath, ...] = ("public", "direct", "fast")


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> WirePath:
    """Every way through nats-py: one interface, one suite."""
    return request.param


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as server:
        yield server


@pytest.fixture
def settings(server: EmbeddedServer, path: WirePath) -> ConnectionSettings:
    return ConnectionSettings(servers=(server.url,), path=path)


@pytest.fixture
async def connection(settings: ConnectionSettings) -> AsyncIterator[Connection]:
    async with await Connection.open(settings) as connection:
        yield connection


@pytest.fixture
def jetstream(connection: Connection) -> JetStream:
    return JetStream(connection)
