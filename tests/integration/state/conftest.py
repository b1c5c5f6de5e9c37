"""A real server for the stores: shared where ids are fresh, an own one where it is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from penguiflow_nats.connection import Connection
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.state_store import NatsStateStore


@pytest.fixture(scope="session")
def shared_server() -> Iterator[EmbeddedServer]:
    server = EmbeddedServer()
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop())


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as server:
        yield server


@pytest.fixture
async def connection(shared_server: EmbeddedServer) -> AsyncIterator[Connection]:
    settings = ConnectionSettings(servers=(shared_server.url,))
    async with await Connection.open(settings) as connection:
        yield connection


@pytest.fixture
async def store(connection: Connection) -> NatsStateStore:
    return await NatsStateStore(connection).open()
