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
from penguiflow.testing import FaultyLog
from penguiflow_nats.dead_letters import NatsDeadLetters
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from tests.support.faulty_connection import FaultyConnection

LEASE = 1.2
"""Seconds; short, since tests wait for its end."""
FAULT_RATE = 0.1
"""The share of calls that fail where calls fail."""


class House(Protocol):
    """Opens workers and clients, and closes what is still open."""

    calm: bool
    """Whether no call fails: then what is handed back comes again at once, and is counted right.
    Else it may come only when its lease ends, as that of a worker that died."""

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
    def __init__(self, seed: int | None = None) -> None:
        self.calm = seed is None
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
        log = await self.worker_log(flow, tenant)
        worker = DurableWorker(flow, log, await self.letters(flow, tenant), **options)
        if start:
            await worker.start()
        if isinstance(log, FaultyLog):
            log.rate = FAULT_RATE  # from now on: a worker that could not start says so
        self._stack.push_async_callback(self._stop, worker)
        return worker

    async def worker_log(self, flow: PenguiFlow, tenant: str) -> Any:
        """The log that a worker gets."""
        return await self.log(flow, tenant)

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
    """One log per flow and tenant, in this process; with a seed, calls of workers may fail."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self._seed = seed
        self._lines = 0
        self._behind: dict[int, MemoryLog] = {}
        self._logs: dict[tuple[str, str], MemoryLog] = {}
        self._letters: dict[tuple[str, str], MemoryDeadLetters] = {}

    async def log(self, flow: PenguiFlow, tenant: str = "default") -> MemoryLog:
        key = (tenant, token_of(flow))
        log = self._logs.setdefault(key, MemoryLog(tenant, key[1]))
        return log.connect()

    async def worker_log(self, flow: PenguiFlow, tenant: str) -> Log:
        log = await self.log(flow, tenant)
        if self._seed is None:
            return log
        self._lines += 1
        faulty = FaultyLog(log, self._seed * 1000 + self._lines, rate=0.0)
        self._behind[id(faulty)] = log
        return faulty

    async def letters(self, flow: PenguiFlow, tenant: str = "default") -> MemoryDeadLetters:
        return self._letters.setdefault((tenant, token_of(flow)), MemoryDeadLetters())

    async def kill(self, worker: DurableWorker) -> None:
        """End the worker's connection; what it still does has no effect any more."""
        self._killed.add(id(worker))
        log = self._behind.get(id(worker.log), worker.log)
        assert isinstance(log, MemoryLog)
        log.kill()
        await abandon(worker)


class NatsHouse(_House):
    """A real server, a connection each; with a seed, each call of the client library may fail."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self.server: EmbeddedServer | None = None
        self._seed = seed
        self._opened = 0

    async def start(self) -> None:
        self.server = await self._stack.enter_async_context(EmbeddedServer())

    async def log(self, flow: PenguiFlow, tenant: str = "default") -> JetStreamLog:
        assert self.server is not None
        settings = ConnectionSettings(servers=(self.server.url,))
        connection = await FaultyConnection.open(settings)
        self._stack.push_async_callback(connection.close)
        log = await JetStreamLog.open(connection, tenant=tenant, flow=token_of(flow))
        if self._seed is not None:
            self._opened += 1
            connection.spoil(self._seed * 1000 + self._opened, FAULT_RATE)
        return log

    async def letters(self, flow: PenguiFlow, tenant: str = "default") -> NatsDeadLetters:
        opened = await self.log(flow, tenant)
        connection = opened.connection
        assert isinstance(connection, FaultyConnection)
        rate, connection.rate = connection.rate, 0.0
        letters = await NatsDeadLetters.open(opened)
        connection.rate = rate
        return letters

    async def kill(self, worker: DurableWorker) -> None:
        self._killed.add(id(worker))
        assert isinstance(worker.log, JetStreamLog)
        await worker.log.connection.close()
        await abandon(worker)


async def abandon(worker: DurableWorker) -> None:
    """Cancel the tasks of a worker whose connection is gone, as the end of its process does."""
    await worker.stop(drain=0)
