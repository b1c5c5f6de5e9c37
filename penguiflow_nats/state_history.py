"""What a history is read as, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from penguiflow.state.records import StoredEvent

Reason = Literal["deleted", "ended", "idle", "expired", "crowded", "trimmed"]
"""Why a trace is gone: somebody deleted it; its time after the terminal state, or after its last
event, was over; its events had a time to live; there were too many traces. `trimmed`: it had too
many events, and its oldest are gone."""


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event and what the store knows about it."""

    event: StoredEvent
    sequence: int
    """Where it stands: grows over the whole store and depends on no worker's clock. A cursor."""
    recorded_at: datetime
    """When it was stored, by the server's clock."""


@dataclass(frozen=True, slots=True)
class TraceRemoval:
    """What is left of a trace that is gone."""

    reason: Reason
    removed_at: datetime | None
    """By the server's clock; None where the events went one by one."""
    tenant: str | None
    events: int
    """How many events went."""


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A part of a history, in the order in which it was recorded."""

    events: list[RecordedEvent]
    after: int
    """Where the next page starts: pass it as `after`."""
    more: bool
    """Whether there was more when the page was read."""
    removed: TraceRemoval | None
    """Set where (an earlier part of) the trace was removed."""


def in_order(events: list[StoredEvent], sequences: Sequence[int]) -> list[StoredEvent]:
    """The events of a trace, given as recorded, in the order that the store contract promises.

    By `seq` when every event has one, and one tenant counted. When every event has an id and none
    a `seq`, the server's sequence stands in: no worker's clock decides. Else by `ts`, and events of
    the same time in the order in which they arrived.
    """
    numbered = [event.seq is not None for event in events]
    if all(numbered) and len({event.tenant for event in events}) <= 1:
        return sorted(events, key=lambda event: (event.seq or 0, event.ts))
    if not any(numbered) and all(event.event_id is not None for event in events):
        for event, sequence in zip(events, sequences, strict=True):
            event.seq = sequence
        return events
    return sorted(events, key=lambda event: event.ts)


__all__ = ["HistoryPage", "Reason", "RecordedEvent", "TraceRemoval", "in_order"]
