"""Stored events and remote bindings."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

SESSION_TRACE_PREFIX = "session:"
"""What the trace id of a session's own history starts with: `session:<session id>`."""


class FlowEventLike(Protocol):
    """What a stored event takes from a `FlowEvent`."""

    @property
    def event_type(self) -> str: ...
    @property
    def ts(self) -> float: ...
    @property
    def node_name(self) -> str | None: ...
    @property
    def node_id(self) -> str | None: ...
    @property
    def trace_id(self) -> str | None: ...
    @property
    def event_id(self) -> str | None: ...
    @property
    def seq(self) -> int | None: ...
    @property
    def tenant(self) -> str | None: ...
    def to_payload(self) -> dict[str, Any]: ...


@dataclass
class StoredEvent:
    """One event of a trace's history."""

    trace_id: str | None
    ts: float
    """Unix time in seconds, by the clock of whoever made the event."""
    kind: str
    node_name: str | None
    node_id: str | None
    payload: dict[str, Any]
    event_id: str | None = None
    """The event's identity. Two events with different ids are two, however equal they look."""
    seq: int | None = None
    """The event's place in its trace, where one is known; it beats `ts`."""
    tenant: str | None = None

    @classmethod
    def from_flow_event(cls, event: FlowEventLike) -> StoredEvent:
        """The event as a store keeps it: the kind is its type, the payload `to_payload()`."""
        return cls(
            trace_id=event.trace_id,
            ts=event.ts,
            kind=event.event_type,
            node_name=event.node_name,
            node_id=event.node_id,
            payload=event.to_payload(),
            event_id=event.event_id,
            seq=event.seq,
            tenant=event.tenant,
        )


@dataclass
class RemoteBinding:
    """Ties a trace to the remote task that works for it.

    Its key is (trace_id, context_id, task_id), within its tenant.
    """

    trace_id: str
    context_id: str | None
    task_id: str
    agent_url: str
    router_session_id: str | None = None
    """The conversation that the remote context belongs to."""
    remote_skill: str | None = None
    tenant_id: str | None = None
    user_id: str | None = None
    last_remote_task_id: str | None = None
    is_terminal: bool = False
    """Whether the remote task has ended, so that nothing is left to resume."""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class HeldBinding:
    """A binding with what the store knows about it."""

    binding: RemoteBinding
    revision: int
    """Changes with every write of the binding: the fence of a take-over."""
    owner: str | None
    """Who took the binding over; None before anybody did."""
    updated_at: datetime
    """When the binding was written last, by the store's clock."""
