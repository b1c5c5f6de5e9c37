"""A flow with a remote node, and what is seen of it."""

from __future__ import annotations

import asyncio
from typing import Any

from penguiflow import FlowEvent, NodePolicy, StreamChunk, create
from penguiflow.flow import PenguiFlow
from penguiflow.node import Node
from penguiflow.remote import (
    RemoteNode,
)
from penguiflow.state.models import RemoteBinding, StoredEvent
from penguiflow.state.protocols import SupportsConversationBindings
from penguiflow.types import Headers, Message
from tests.unit.remote_transports import Transport

URL = "memory://agent"
NO_CHECK = NodePolicy(validate="none")


class Store(SupportsConversationBindings):
    def __init__(self) -> None:
        self.bindings: list[RemoteBinding] = []

    async def save_event(self, event: StoredEvent) -> None: ...

    async def load_history(self, trace_id: str) -> list[StoredEvent]:
        return []

    async def save_remote_binding(self, binding: RemoteBinding) -> None:
        self.bindings.append(binding)


class Seen(list[FlowEvent]):
    """The events of the flow; of those about remote calls, their names and extras."""

    async def __call__(self, event: FlowEvent) -> None:
        self.append(event)

    def remote(self) -> list[str]:
        names = [event.event_type for event in self]
        return [name for name in names if name.startswith("remote_")]

    def extra(self, name: str) -> dict[str, Any]:
        return dict(next(event.extra for event in self if event.event_type == name))


def node_of(transport: Transport, **options: Any) -> Node:
    options = {"policy": NO_CHECK, **options}
    return RemoteNode(transport=transport, skill="sum", agent_url=URL, name="remote", **options)


def message(payload: Any = "question", **fields: Any) -> Message:
    return Message(payload=payload, headers=Headers(tenant="acme"), **fields)


class Running:
    """A flow of one remote node, running."""

    def __init__(self, transport: Transport, **options: Any) -> None:
        self.events, self.store = Seen(), Store()
        self.node = node_of(transport, **options)
        self.flow: PenguiFlow = create(
            self.node.to(),
            middlewares=[self.events],
            state_store=self.store,
            emit_errors_to_rookery=True,
        )

    async def __aenter__(self) -> Running:
        self.flow.run()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.flow.stop()

    async def call(self, msg: Any = None) -> Any:
        """The result; chunks are skipped."""
        await self.flow.emit(message() if msg is None else msg)
        async with asyncio.timeout(5):
            while isinstance(value := await self.flow.fetch(), Message):
                assert isinstance(value.payload, StreamChunk)
            return value


class Detached:
    """A context by hand."""

    def __init__(self, runtime: PenguiFlow | None) -> None:
        self.runtime = runtime
        self.attempt = 0
        self.idempotency_key = "key"
