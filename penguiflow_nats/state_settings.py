"""How a state store keeps what it is given: limits, retention, and what it does in trouble."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Literal

Mode = Literal["durable", "mirror"]
"""`durable`: a write that cannot be confirmed raises, after it was repeated for a while. `mirror`:
an event that cannot be confirmed is logged, counted and given up, so that the flow goes on."""


class ForeignTenant(ValueError):
    """Something names another tenant than the one that the store belongs to.

    Attributes:
        tenant: Whose it is.
        named: The tenant that was named.
    """

    def __init__(self, tenant: str, named: str) -> None:
        super().__init__(f"this belongs to tenant {tenant!r}, not to {named!r}")
        self.tenant = tenant
        self.named = named


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRetention:
    """How long state is kept. None is until it is removed.

    The server itself ends what has a time to live. Whole traces, and what is beyond a number, are
    removed by `sweep`, which any process may call from time to time, several at once too; workers
    do. Between two sweeps there may be more.
    """

    after_end: timedelta | None = None
    """A trace goes this long after its terminal state."""
    idle: timedelta | None = None
    """A trace goes when its last event is this old, unless a remote task still works for it."""
    tombstones: timedelta = timedelta(days=30)
    """How long it is known that a trace was removed."""

    max_traces: int | None = None
    """Traces in the bucket; beyond, those go whose last event is oldest."""
    max_events_per_trace: int | None = None
    """Beyond, the oldest go; so do they with the next three."""
    max_planner_events_per_trace: int | None = None
    max_updates_per_session: int | None = None
    max_steering_events_per_session: int | None = None

    events: timedelta | None = None
    planner_events: timedelta | None = None
    planner_state: timedelta | None = None
    memory: timedelta | None = None
    tasks: timedelta | None = None
    updates: timedelta | None = None
    steering: timedelta | None = None
    trajectories: timedelta | None = None
    bindings: timedelta | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A time or a number is not positive.
        """
        for each in fields(self):
            value = getattr(self, each.name)
            least = 1 if each.name.startswith("max_") else timedelta(microseconds=1)
            if value is not None and value < least:
                msg = f"{each.name} must be positive, or None"
                raise ValueError(msg)


__all__ = ["ForeignTenant", "Mode", "StateRetention"]
