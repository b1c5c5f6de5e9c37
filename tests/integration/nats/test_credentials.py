"""Credentials that expire are read again from their file with each new link."""

from __future__ import annotations

import time
from pathlib import Path

from penguiflow_nats.connection import Connection
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from tests.integration.nats.credentials import Authority
from tests.support.eventually import eventually


async def test_credentials_that_were_renewed_in_time_are_used(tmp_path: Path) -> None:
    authority, file = Authority(), tmp_path / "user.creds"
    authority.write(file, expires=time.time() + 3)
    async with EmbeddedServer(config=authority.config(), jetstream=False) as server:
        settings = ConnectionSettings(servers=(server.url,), credentials=str(file))
        async with await Connection.open(settings) as connection:
            heard: list[bytes] = []
            connection.subscribe("news", lambda message: heard.append(message.data))
            authority.write(file, expires=time.time() + 3600)
            await eventually(lambda: connection.statistics.reconnects == 1, timeout=30)
            connection.publish("news", b"still here")
            await eventually(lambda: heard, timeout=30)


async def test_credentials_that_are_renewed_late_are_used_then(tmp_path: Path) -> None:
    authority, file = Authority(), tmp_path / "user.creds"
    authority.write(file, expires=time.time() + 2)
    async with EmbeddedServer(config=authority.config(), jetstream=False) as server:
        settings = ConnectionSettings(servers=(server.url,), credentials=str(file))
        async with await Connection.open(settings) as connection:
            await eventually(lambda: not connection.is_connected, timeout=30)
            await eventually(lambda: "cannot connect" in str(connection.last_error), timeout=30)
            assert not connection.is_connected
            authority.write(file, expires=time.time() + 3600)
            await eventually(lambda: connection.is_connected, timeout=30)
            await connection.flush()
