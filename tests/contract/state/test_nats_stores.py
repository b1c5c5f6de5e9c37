"""The stores on JetStream keep every promise that is shipped as a contract class."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from penguiflow.artifacts import ArtifactRetentionConfig, ArtifactStore
from penguiflow.bus import BusEnvelope, MessageBus
from penguiflow.sessions import StateStoreSessionAdapter
from penguiflow.state import protocols
from penguiflow.testing.artifact_contract import ArtifactStoreContract
from penguiflow.testing.bus_contract import MessageBusContract
from penguiflow.testing.contract import fresh
from penguiflow.testing.store_contract import (
    ArtifactsContract,
    BindingTransferContract,
    BulkEventsContract,
    ConversationBindingsContract,
    EventIdentityContract,
    MemoryStateContract,
    PlannerEventsContract,
    PlannerStateContract,
    RetentionContract,
    StateStoreContract,
    SteeringContract,
    TasksContract,
    TenantHistoryContract,
    TrajectoriesContract,
)
from penguiflow_nats.artifact_store import NatsArtifactStore
from penguiflow_nats.bus import NatsMessageBus
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.state_store import NatsStateStore

SERVER = EmbeddedServer()
"""One server for all tests of this file: the contracts use fresh ids."""


@pytest.fixture(scope="module", autouse=True)
def _running_server() -> Iterator[None]:
    asyncio.run(SERVER.start())
    yield
    asyncio.run(SERVER.stop())


class _OnNats:
    async def close_store(self, store: Any) -> None:
        await store.close()


class TestNatsStateStore(
    _OnNats,
    StateStoreContract,
    EventIdentityContract,
    BulkEventsContract,
    TenantHistoryContract,
    RetentionContract,
    PlannerStateContract,
    PlannerEventsContract,
    MemoryStateContract,
    TrajectoriesContract,
    ArtifactsContract,
    TasksContract,
    SteeringContract,
    ConversationBindingsContract,
    BindingTransferContract,
):
    async def make_store(self) -> NatsStateStore:
        return await NatsStateStore(SERVER.url).open()


class TestNatsStateStoreOfATenant(_OnNats, StateStoreContract, BulkEventsContract):
    async def make_store(self) -> NatsStateStore:
        return NatsStateStore(SERVER.url, tenant="acme")


class TestSessionsOnTheEventsOfANatsStateStore(TasksContract, SteeringContract):
    async def make_store(self) -> Any:
        self.store = NatsStateStore(SERVER.url)
        return StateStoreSessionAdapter(_RequiredTrio(self.store))

    async def close_store(self, store: Any) -> None:
        await self.store.close()


class _RequiredTrio:
    """Hides the optional capabilities, so that the adapter has to work with events."""

    def __init__(self, store: NatsStateStore) -> None:
        self.save_event = store.save_event
        self.load_history = store.load_history
        self.save_remote_binding = store.save_remote_binding


class TestNatsArtifactStore(_OnNats, ArtifactStoreContract):
    max_artifact_bytes = 30_000

    async def make_store(self) -> NatsArtifactStore:
        retention = ArtifactRetentionConfig(max_artifact_bytes=self.max_artifact_bytes)
        return NatsArtifactStore(SERVER.url, retention)


class TestNatsMessageBus(MessageBusContract):
    async def make_store(self) -> NatsMessageBus:
        return await NatsMessageBus(SERVER.url).open()

    async def close_store(self, store: Any) -> None:
        await store.close()

    async def heard(self, bus: Any, trace_id: str) -> Sequence[BusEnvelope]:
        heard = []
        async with AsyncExitStack() as stack:
            deliveries = await stack.enter_async_context(bus.consume(fresh("worker")))
            while (delivery := await deliveries.next(timeout=0.2)) is not None:
                heard.append(delivery.envelope)
                await delivery.ack()
        return [envelope for envelope in heard if envelope.trace_id == trace_id]


def test_stores_satisfy_the_protocols() -> None:
    store = NatsStateStore()
    for name in protocols.__all__:
        assert isinstance(store, getattr(protocols, name)), name
    assert isinstance(store.artifact_store, ArtifactStore)
    assert isinstance(NatsMessageBus(), MessageBus)
