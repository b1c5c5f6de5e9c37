"""The logs under test: how each is opened, how time passes on it, how it comes to rest."""

from __future__ import annotations

import asyncio
import uuid
from typing import Protocol

import msgspec

from penguiflow.clock import SYSTEM_CLOCK, Clock
from penguiflow.durable.log import Log
from penguiflow.memory.log import MemoryLog
from penguiflow.testing import VirtualClock
from penguiflow.testing.clock import come_to_rest
from penguiflow_nats.connection import Connection
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.streams import Storage, log_config
from penguiflow_nats.subjects import Names


class Bench(Protocol):
    """One log of one test, and its time."""

    lease: float
    """Seconds of a lease that are short enough to wait for and long enough to hold."""

    clock: Clock
    """The time that `pass_time` lets pass."""

    async def open(self, *, max_entries: int = -1, max_bytes: int = -1) -> Log:
        """A connection of its own to the log of this test. The first call sets the limits."""

    async def pass_time(self, seconds: float) -> None:
        """Let this much time pass on the log."""

    async def rest(self) -> None:
        """Wait until whatever was on its way has arrived."""

    async def delete_consumer(self, log: Log, name: str) -> None:
        """Remove a durable consumer behind the back of those who work on it."""

    async def close(self) -> None:
        """Close every connection."""


class MemoryBench:
    """The log in memory on a virtual clock."""

    lease = 10.0

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self._logs: list[MemoryLog] = []

    async def open(self, *, max_entries: int = -1, max_bytes: int = -1) -> MemoryLog:
        if self._logs:
            log = self._logs[0].connect()
        else:
            limits = {"max_entries": max_entries, "max_bytes": max_bytes}
            given = {name: limit for name, limit in limits.items() if limit >= 0}
            log = MemoryLog("tenant", "flow", clock=self.clock, **given)
        self._logs.append(log)
        return log

    async def pass_time(self, seconds: float) -> None:
        await self.clock.advance(seconds)

    async def rest(self) -> None:
        await come_to_rest()

    async def delete_consumer(self, log: Log, name: str) -> None:
        assert isinstance(log, MemoryLog)
        assert await log.delete_consumer(name)

    async def close(self) -> None:
        for log in self._logs:
            await log.close()


class NatsBench:
    """The log on JetStream; time is real, and every test is a tenant of its own."""

    lease = 1.2
    clock = SYSTEM_CLOCK

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server
        self._tenant = f"t{uuid.uuid4().hex}"
        self._connections: list[Connection] = []

    async def open(self, *, max_entries: int = -1, max_bytes: int = -1) -> JetStreamLog:
        await self._server.start()
        connection = await Connection.open(ConnectionSettings(servers=(self._server.url,)))
        self._connections.append(connection)
        if len(self._connections) == 1:
            config = log_config(Names(self._tenant, "flow"), Storage())
            limited = msgspec.structs.replace(config, max_msgs=max_entries, max_bytes=max_bytes)
            await JetStream(connection).create_stream(limited)
        return await JetStreamLog.open(connection, tenant=self._tenant, flow="flow")

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def rest(self) -> None:
        # Nothing tells that a server has nothing more to say; what should not come had this long.
        await asyncio.sleep(0.2)

    async def delete_consumer(self, log: Log, name: str) -> None:
        assert isinstance(log, JetStreamLog)
        await log.jetstream.delete_consumer(log.names.log_stream, log.names.consumer(name))

    async def close(self) -> None:
        for connection in self._connections:
            await connection.close()
