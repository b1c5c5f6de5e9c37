"""A connection may be closed at any moment, also while it is being made."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from penguiflow_nats.connection import Connection
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings


class Silent:
    """Listens where a server was, and says nothing."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.peers: list[asyncio.StreamWriter] = []

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers.append(writer)
        self.asked.set()


@pytest.mark.parametrize("talks", [False, True])
async def test_closed_while_it_reconnects_it_leaves_no_exception_behind(talks: bool) -> None:
    """Nobody asks for the outcome of the attempt that is given up then."""
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    silent = Silent()
    async with EmbeddedServer() as server, asyncio.timeout(30):
        settings = ConnectionSettings(servers=(server.url,), connect_timeout=5.0)
        connection = await Connection.open(settings)
        await server.kill()
        port = int(server.url.rsplit(":", 1)[1])
        async with await asyncio.start_server(silent.accept, "127.0.0.1", port):
            await silent.asked.wait()
            if talks:
                silent.peers[0].write(b'INFO {"max_payload":1024,"headers":true}\r\n')
                await asyncio.sleep(0.05)
            await connection.close()
            for peer in silent.peers:
                peer.transport.abort()
    del connection
    for _ in range(10):
        gc.collect()
        await asyncio.sleep(0.01)
    assert problems == []
