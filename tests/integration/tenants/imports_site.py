"""A server whose tenants are served by shared workers over one connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from penguiflow_nats.connection import Connection
from penguiflow_nats.server import EmbeddedServer, free_port
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.streams import Storage
from penguiflow_nats.tenancy import read_tenants
from penguiflow_nats.tenancy_config import server_config

SMALL = Storage(
    log_bytes=10_000_000, dlq_bytes=2_000_000, chunk_bytes=2_000_000, object_bytes=10_000_000
)
_TENANT = """
[[tenant]]
name = "{}"
disk = "40MB"
memory = "1MB"
shared_workers = true
"""


class SharedSite:
    """The server, and the doors into it."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server

    async def open(self, user: str, *, inbox: str = "_INBOX") -> Connection:
        settings = ConnectionSettings(
            servers=(self.server.url,), user=user, password="psecret", inbox_prefix=inbox
        )
        return await Connection.open(settings)

    async def workers(self) -> Connection:
        return await self.open("workers")

    async def app(self, tenant: str) -> Connection:
        return await self.open(f"{tenant}-app", inbox=f"_INBOX_{tenant}")


@asynccontextmanager
async def shared_site(
    monkeypatch: pytest.MonkeyPatch, store: str, names: Sequence[str]
) -> AsyncIterator[SharedSite]:
    port = free_port()
    text = (
        f'[server]\nlisten = "127.0.0.1:{port}"\nstore_dir = "{store}"\nsync_interval = "2m"\n'
        f'disk = "{40 * len(names)}MB"\nmemory = "{len(names)}MB"\n'
    )
    wanted = read_tenants(text + "".join(map(_TENANT.format, names)))
    for variable in wanted.variables():
        monkeypatch.setenv(variable, "psecret")
    async with EmbeddedServer(port=port, config=server_config(wanted)) as server:
        yield SharedSite(server)
