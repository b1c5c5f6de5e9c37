"""The tap on a flow's edges: what travels, told to a bus of the user's choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(slots=True)
class BusEnvelope:
    """One object on one edge."""

    edge: str
    """ "source->target", by node name."""
    source: str | None
    target: str | None
    trace_id: str | None
    """None when the travelling object is not traced."""
    payload: Any
    """The whole travelling object: the `Message` itself, not only what it carries."""
    headers: Mapping[str, Any] | None
    """A dump of the message's headers; None when the object is not a `Message`."""
    meta: Mapping[str, Any] | None
    """A copy of the message's meta; None when the object is not a `Message`."""


@runtime_checkable
class MessageBus(Protocol):
    """Hears of everything that is put on an edge, ingress and egress included.

    Guarantees: the flow calls `publish` once for each object and edge, n + 1 times for a chain of
    n nodes. The bus only observes: the flow hands the object to the next node itself.
    """

    async def publish(self, envelope: BusEnvelope) -> None:
        """Tell the bus of one object.

        Raises:
            Exception: whatever the bus meets. The flow logs it and goes on.
        """


__all__ = ["BusEnvelope", "MessageBus"]
