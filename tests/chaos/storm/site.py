"""The server side of a storm: one server, or a cluster of three."""

from __future__ import annotations

import asyncio
import random
from typing import Self

from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.server_cluster import ServerCluster


class Site:
    """One server on its old store after each kill, or three of which one is away at a time."""

    def __init__(self, *, replicas: int, chooser: random.Random) -> None:
        self.replicas = replicas
        self._chooser = chooser
        self._cluster = ServerCluster() if replicas > 1 else None
        self._server = None if self._cluster is not None else EmbeddedServer()
        self._one_at_a_time = asyncio.Lock()

    @property
    def urls(self) -> tuple[str, ...]:
        """Addresses for clients."""
        if self._cluster is not None:
            return self._cluster.urls
        assert self._server is not None
        return (self._server.url,)

    async def __aenter__(self) -> Self:
        await (self._cluster or self._server).__aenter__()  # type: ignore[union-attr]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await (self._cluster or self._server).__aexit__(*exc_info)  # type: ignore[union-attr]

    async def strike(self, stream: str, seconds: float) -> None:
        """Kill a server, of a cluster mostly the leader of the stream; start it again."""
        async with self._one_at_a_time:
            if self._cluster is None:
                assert self._server is not None
                await self._server.kill()
                await asyncio.sleep(seconds)
                await self._server.start()
                return
            leader = await self._cluster.stream_leader(stream)
            index = self._chooser.randrange(3)
            if leader is not None and self._chooser.random() < 0.7:
                index = leader
            await self._cluster.kill(index)
            await asyncio.sleep(seconds)
            await self._cluster.start(index)
            await self._cluster.ready()  # a second loss meanwhile would be one of the majority
