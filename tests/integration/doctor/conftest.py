"""A server that is prepared to fail a check, and what the doctor says of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penguiflow import Node, NodePolicy, create
from penguiflow_nats.connection import Connection
from penguiflow_nats.doctor import Case, Finding, diagnose, look
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.server import EmbeddedServer, free_port
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.stream_types import ConsumerConfig, StreamConfig
from penguiflow_nats.streams import Storage, chunk_config, dlq_config, log_config

SMALL = Storage(log_bytes=1_000_000, dlq_bytes=1_000_000, chunk_bytes=1_000_000)


async def passed(value: Any, ctx: Any) -> Any:
    return value


def flow_of(policy: NodePolicy | None = None) -> Any:
    policy = policy or NodePolicy(validate="none", timeout_s=5.0)
    first, second = (Node(passed, name=name, policy=policy) for name in ("first", "second"))
    return create(first.to(second), name="checked")


class Patient:
    """A tenant on a server, and the doctor."""

    def __init__(self, connection: Connection, monitor: str) -> None:
        self.connection, self.monitor = connection, monitor
        self.jetstream = JetStream(connection)
        self.case = Case(flow=flow_of())
        self.now: Callable[[], float] | None = None
        self.interval = 0.0

    async def prepare(self, **changes: Any) -> None:
        """The streams and consumers that a worker leaves behind, with changes of the log."""
        names = self.case.names
        wanted = log_config(names, SMALL)
        await self.jetstream.create_stream(msgspec.structs.replace(wanted, **changes))
        for config in (dlq_config(names, SMALL), chunk_config(names, SMALL)):
            await self.jetstream.create_stream(config)
        for name in ("first", "second"):
            await self.consumer(name)

    async def consumer(self, name: str, **changes: Any) -> None:
        topology, names = self.case.topology, self.case.names
        assert topology is not None
        node = topology.node(name)
        assert node is not None
        config = ConsumerConfig(
            durable_name=names.consumer(name),
            filter_subjects=names.filters(topology.consumer(node).patterns),
            ack_wait=15_000_000_000,
            max_ack_pending=8192,
        )
        config = msgspec.structs.replace(config, **changes)
        await self.jetstream.create_consumer(names.log_stream, config)

    async def edit(self, stream: str, **changes: Any) -> None:
        config: StreamConfig = (await self.jetstream.stream_info(stream)).config
        await self.jetstream.update_stream(msgspec.structs.replace(config, **changes))

    async def submit(self, count: int = 1, data: bytes = b"x", start: int = 0) -> None:
        root = self.case.names.log_root
        for number in range(start, start + count):
            await self.jetstream.append(f"{root}.in.t{number}._.s", data)

    async def findings(self, **case: Any) -> dict[str, Finding]:
        """What the doctor finds, by id."""
        extra: dict[str, Any] = {} if self.now is None else {"now": self.now}
        about = replace(self.case, **case)
        facts = await look(
            self.connection, about, monitor=self.monitor, interval=self.interval, **extra
        )
        return {each.id: each for each in diagnose(facts, about)}


@pytest.fixture
def config() -> str:
    """More configuration; a test may have its own."""
    return 'jetstream { store_dir: "STORE", sync_interval: always, max_file_store: 50MB }'


@pytest.fixture
async def server(config: str, tmp_path: Path) -> AsyncIterator[tuple[EmbeddedServer, str]]:
    port = free_port()
    text = f'http: "127.0.0.1:{port}"\n{config.replace("STORE", str(tmp_path))}'
    jetstream = "jetstream" in config
    async with EmbeddedServer(config=text, jetstream=jetstream) as started:
        yield started, f"http://127.0.0.1:{port}"


@pytest.fixture
async def patient(server: tuple[EmbeddedServer, str]) -> AsyncIterator[Patient]:
    settings = ConnectionSettings(servers=(server[0].url,))
    async with await Connection.open(settings) as connection:
        yield Patient(connection, server[1])


__all__ = ["SMALL", "Patient", "flow_of"]
