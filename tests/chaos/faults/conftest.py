"""A server, and a scene that a test shares with its worker processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from penguiflow.durable.client import DurableClient
from penguiflow_nats import runtime
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.streams import Storage
from tests.chaos.faults.flows import FLOWS, Scene
from tests.chaos.faults.lives import Lives, lives


class Open(Protocol):
    """Opens a client of a flow."""

    def __call__(self, flow: str) -> AbstractAsyncContextManager[DurableClient]: ...


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as server:
        yield server


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture
async def workers(server: EmbeddedServer, scene: Scene) -> AsyncIterator[Lives]:
    with lives((server.url,), scene) as opened:
        yield opened


@pytest.fixture
def client_of(server: EmbeddedServer, scene: Scene) -> Open:
    return opener((server.url,), scene)


def opener(servers: tuple[str, ...], scene: Scene, replicas: int = 1) -> Open:
    @asynccontextmanager
    async def opened(flow: str) -> AsyncIterator[DurableClient]:
        settings = ConnectionSettings(servers=servers)
        storage = Storage(replicas=replicas)
        async with runtime.client(FLOWS[flow](scene), settings, storage=storage) as client:
            yield client

    return opened
