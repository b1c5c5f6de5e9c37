"""Where the engine runs in its contract: in memory, or on a real server."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any, Protocol

from penguiflow import PenguiFlow
from penguiflow.durable.client import DurableClient
from penguiflow.durable.dead_letters import DeadLetters
from penguiflow.durable.log import Log
from penguiflow.durable.topology import flow_token
from penguiflow.durable.worker import DurableWorker
from penguiflow.memory.dead_letters import MemoryDeadLetters
from penguiflow.memory.log import MemoryLog
from penguiflow_nats.connection import Connection
from penguiflow_nats.dead_letters import NatsDeadLetters
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings

LEASE = 1.2
"""Seconds; short, since tests wait for its end."""


class House(Protocol):
    """Opens workers and clients, and closes what is still open."""

    async def log(self, flow: PenguiFlow, tenant: str = "default") -> Log: ...

    async def letters(self, flow: PenguiFlow, tenant: str = "default") -> DeadLetters: ...

    async def worker(self, flow: PenguiFlow, **options: Any) -> DurableWorker: ...

    async def client(
        self, flow: PenguiFlow, tenant: str = "default", **options: Any
    ) -> DurableClient: ...

    async def kill(self, worker: DurableWorker) -> None: ...

    async def close(self) -> None: ...


def token_of(flow: PenguiFlow) -> str:
    return flow_token(flow.graph, flow.name, flow.version)


class _House:
    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._killed: set[int] = set()

    async def log(self, flow: PenguiFlow, tenant: str = "default") -> Any:
        raise NotImplementedError

    async def letters(self, flow: PenguiFlow, tenant: str = "default") -> Any:
        raise NotImplementedError

    async def worker(
        self, flow: PenguiFlow, *, tenant: str = "default", start: bool = True, **options: Any
    ) -> Any:
        options.setdefault("lease", LEASE)
        log = await self.log(flow, tenant)
        worker = DurableWorker(flow, log, await self.letters(flow, tenant), **options)
        if start:
            await worker.start()
        self._stack.push_async_callback(self._stop, worker)
        return worker

    async def _stop(self, worker: DurableWorker) -> None:
        if id(worker) not in self._killed:
            await worker.stop(drain=2)

    async def client(
        self, flow: PenguiFlow, tenant: str = "default", **options: Any
    ) -> DurableClient:
        client = DurableClient(flow, await self.log(flow, tenant), **options)
        return await self._stack.enter_async_context(client)

    async def close(self) -> None:
        await self._stack.aclose()


class MemoryHouse(_House):
    """One log per flow and tenant, in this process."""

    def __init__(self) -> None:
        super().__init__()
        self._logs: dict[tuple[str, str], MemoryLog] = {}
        self._letters: dict[tuple[str, str], MemoryDeadLetters] = {}

    async def log(self, flow: PenguiFlow, tenant: str = "default") -> MemoryLog:
        key = (tenant, token_of(flow))
        log = self._logs.setdefault(key, MemoryLog(tenant, key[1]))
        return log.connect()

    async def letters(self, flow: PenguiFlow, tenant: str = "default") -> MemoryDeadLetters:
        return self._letters.setdefault((tenant, token_of(flow)), MemoryDeadLetters())

    async def kill(self, worker: DurableWorker) -> None:
        """End the worker's connection; what it still does has no effect any more."""
        self._killed.add(id(worker))
        assert isinstance(worker.log, MemoryLog)
        worker.log.kill()
        await abandon(worker)


class NatsHouse(_House):
    """A real server, a connection each."""

    def __init__(self) -> None:
        super().__init__()
        self.server: EmbeddedServer | None = None

    async def start(self) -> None:
        self.server = await self._stack.enter_async_context(EmbeddedServer())

    async def log(self, flow: PenguiFlow, tenant: str = "default") -> JetStreamLog:
        assert self.server is not None
        settings = ConnectionSettings(servers=(self.server.url,))
        connection = await Connection.open(settings)
        self._stack.push_async_callback(connection.close)
        return await JetStreamLog.open(connection, tenant=tenant, flow=token_of(flow))

    async def letters(self, flow: PenguiFlow, tenant: str = "default") -> NatsDeadLetters:
        return await NatsDeadLetters.open(await self.log(flow, tenant))

    async def kill(self, worker: DurableWorker) -> None:
        self._killed.add(id(worker))
        assert isinstance(worker.log, JetStreamLog)
        await worker.log.connection.close()
        await abandon(worker)


async def abandon(worker: DurableWorker) -> None:
    """Cancel the tasks of a worker whose connection is gone, as the end of its process does."""
    await worker.stop(drain=0)
