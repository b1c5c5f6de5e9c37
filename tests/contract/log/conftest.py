"""One suite, several logs: whatever implements `Log` is registered here and keeps every promise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from penguiflow.durable.log import Log
from penguiflow_nats.server import EmbeddedServer
from tests.contract.log.bench import Bench, MemoryBench, NatsBench

MakeLog = Callable[..., Awaitable[Log]]
PassTime = Callable[[float], Awaitable[None]]

BENCHES: dict[str, Callable[[EmbeddedServer], Bench]] = {
    "memory": lambda _: MemoryBench(),
    "nats": NatsBench,
}


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """One server for all tests; the first that needs it starts it."""
    server = EmbeddedServer()
    yield server
    asyncio.run(server.stop())


@pytest.fixture(params=list(BENCHES))
async def bench(request: pytest.FixtureRequest, server: EmbeddedServer) -> AsyncIterator[Bench]:
    bench = BENCHES[request.param](server)
    yield bench
    await bench.close()


@pytest.fixture
def make_log(bench: Bench) -> MakeLog:
    """Opens one more connection to the log of this test."""
    return bench.open


@pytest.fixture
async def log(bench: Bench) -> Log:
    """The first connection, without special limits."""
    return await bench.open()


@pytest.fixture
def lease(bench: Bench) -> float:
    return bench.lease


@pytest.fixture
def pass_time(bench: Bench) -> PassTime:
    return bench.pass_time


@pytest.fixture
def rest(bench: Bench) -> Callable[[], Awaitable[None]]:
    return bench.rest


@pytest.fixture
def delete_consumer(bench: Bench) -> Callable[[Log, str], Awaitable[Any]]:
    return bench.delete_consumer
