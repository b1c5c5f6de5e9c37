"""Where sessions keep their tasks, updates and steering events.

SessionStateStore              the protocol
InMemorySessionStateStore      in this process
StateStoreSessionAdapter       as events of any `StateStore`
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from penguiflow.sessions.adapter import StateStoreSessionAdapter
from penguiflow.state.in_memory_sessions import InMemorySessionStateStore
from penguiflow.state.protocols import SupportsSteering, SupportsTasks


@runtime_checkable
class SessionStateStore(SupportsTasks, SupportsSteering, Protocol):
    """Keeps what happens in sessions."""


__all__ = ["InMemorySessionStateStore", "SessionStateStore", "StateStoreSessionAdapter"]
