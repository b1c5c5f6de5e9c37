"""Our stores keep every promise that is shipped as a contract class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penguiflow.artifacts import ArtifactRetentionConfig, InMemoryArtifactStore
from penguiflow.bus import BusEnvelope, MessageBus
from penguiflow.sessions import InMemorySessionStateStore, StateStoreSessionAdapter
from penguiflow.state import InMemoryStateStore, PlaygroundArtifactStore
from penguiflow.state.models import RemoteBinding, StoredEvent
from penguiflow.testing.artifact_contract import ArtifactStoreContract
from penguiflow.testing.bus_contract import MessageBusContract
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


class TestInMemoryStateStore(
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
    async def make_store(self) -> InMemoryStateStore:
        return InMemoryStateStore()


class TestInMemorySessionStateStore(TasksContract, SteeringContract):
    async def make_store(self) -> InMemorySessionStateStore:
        return InMemorySessionStateStore()


class TestSessionsOnAStateStore(TasksContract, SteeringContract):
    async def make_store(self) -> StateStoreSessionAdapter:
        return StateStoreSessionAdapter(InMemoryStateStore())


class RequiredTrio:
    """A store from before events had ids: a list, nothing stored twice."""

    def __init__(self) -> None:
        self.events: list[StoredEvent] = []

    async def save_event(self, event: StoredEvent) -> None:
        plain = StoredEvent(
            event.trace_id, event.ts, event.kind, event.node_name, event.node_id, event.payload
        )
        if plain not in self.events:
            self.events.append(plain)

    async def load_history(self, trace_id: str) -> list[StoredEvent]:
        found = [event for event in self.events if event.trace_id == trace_id]
        return sorted(found, key=lambda event: event.ts)

    async def save_remote_binding(self, binding: RemoteBinding) -> None:
        pass


class TestSessionsOnAStoreWithoutEventIds(TasksContract, SteeringContract):
    async def make_store(self) -> StateStoreSessionAdapter:
        return StateStoreSessionAdapter(RequiredTrio())


class TestInMemoryArtifactStore(ArtifactStoreContract):
    max_artifact_bytes = 30_000

    async def make_store(self) -> InMemoryArtifactStore:
        return InMemoryArtifactStore(
            ArtifactRetentionConfig(max_artifact_bytes=self.max_artifact_bytes)
        )


class TestPlaygroundArtifactStore(ArtifactStoreContract):
    max_artifact_bytes = 30_000

    async def make_store(self) -> PlaygroundArtifactStore:
        return PlaygroundArtifactStore(
            ArtifactRetentionConfig(max_artifact_bytes=self.max_artifact_bytes)
        )


class RecordingBus(MessageBus):
    def __init__(self) -> None:
        self.envelopes: list[BusEnvelope] = []

    async def publish(self, envelope: BusEnvelope) -> None:
        self.envelopes.append(envelope)


class TestRecordingBus(MessageBusContract):
    async def make_store(self) -> RecordingBus:
        return RecordingBus()

    async def heard(self, bus: Any, trace_id: str) -> Sequence[BusEnvelope]:
        return [each for each in bus.envelopes if each.trace_id == trace_id]


class SilentBus:
    async def publish(self, envelope: BusEnvelope) -> None:
        pass


class TestBusThatCannotBeObserved(MessageBusContract):
    async def make_store(self) -> SilentBus:
        return SilentBus()
