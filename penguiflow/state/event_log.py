"""The histories of an in-memory store. No asyncio, no IO."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, TypeAlias

from penguiflow.state.copies import snapshot
from penguiflow.state.records import StoredEvent

GLOBAL_TRACE = "__global__"
"""Where events without a trace are kept."""

_Content: TypeAlias = tuple[float, str, str | None, str | None]


def trace_key(trace_id: str | None) -> str:
    """The key under which a trace is kept."""
    return GLOBAL_TRACE if trace_id is None else trace_id


class TraceLog:
    """The events of one trace of one tenant, the oldest dropped beyond a limit."""

    __slots__ = ("_alike", "_events", "_ids", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: deque[StoredEvent] = deque()
        self._ids: set[str] = set()
        self._alike: dict[_Content, list[StoredEvent]] = {}

    def add(self, event: StoredEvent) -> None:
        """Append a copy of the event, unless it is here already."""
        if event.event_id is not None:
            if event.event_id in self._ids:
                return
            self._ids.add(event.event_id)
            self._events.append(copy_event(event))
        else:
            # Only an event without an id is known by what it says.
            alike = self._alike.setdefault(_content(event), [])
            if any(kept.payload == event.payload and kept.seq == event.seq for kept in alike):
                return
            alike.append(copy_event(event))
            self._events.append(alike[-1])
        if 0 < self._limit < len(self._events):
            self._drop_oldest()

    def events(self) -> Iterable[StoredEvent]:
        """The stored events themselves, in order of arrival."""
        return self._events

    def _drop_oldest(self) -> None:
        gone = self._events.popleft()
        if gone.event_id is not None:
            self._ids.discard(gone.event_id)
            return
        alike = self._alike[_content(gone)]
        del alike[0]
        if not alike:
            del self._alike[_content(gone)]


class EventLog:
    """Histories by trace and tenant. A limit of zero or less is none."""

    def __init__(self, max_events_per_trace: int) -> None:
        self._limit = max_events_per_trace
        self._traces: dict[str, dict[str | None, TraceLog]] = {}

    def add(self, event: StoredEvent) -> None:
        """Append an event to its trace, unless it is there already."""
        tenants = self._traces.setdefault(trace_key(event.trace_id), {})
        log = tenants.get(event.tenant)
        if log is None:
            log = tenants[event.tenant] = TraceLog(self._limit)
        log.add(event)

    def history(self, trace_id: str, *, tenant: str | None = None) -> list[StoredEvent]:
        """Copies of the events, of one tenant or of all."""
        tenants = self._traces.get(trace_id, {})
        logs = [log for name, log in tenants.items() if tenant is None or name == tenant]
        events = [event for log in logs for event in log.events()]
        # A sequence counts within one tenant's trace, so it orders nothing across tenants.
        if len(logs) == 1 and all(event.seq is not None for event in events):
            events.sort(key=_by_sequence)
        else:
            events.sort(key=_by_time)
        return [copy_event(event) for event in events]

    def delete(self, trace_id: str, *, tenant: str | None = None) -> bool:
        """Forget a trace, of one tenant or of all; whether there was one."""
        tenants = self._traces.get(trace_id, {})
        gone = [name for name in tenants if tenant is None or name == tenant]
        for name in gone:
            del tenants[name]
        if not tenants:
            self._traces.pop(trace_id, None)
        return bool(gone)

    def __contains__(self, trace_id: str) -> bool:
        return trace_id in self._traces

    def clear(self) -> None:
        """Forget everything."""
        self._traces.clear()


def copy_event(event: StoredEvent) -> StoredEvent:
    """A copy whose payload is a copy too."""
    payload: dict[str, Any] = snapshot(event.payload)
    return StoredEvent(
        event.trace_id,
        event.ts,
        event.kind,
        event.node_name,
        event.node_id,
        payload,
        event.event_id,
        event.seq,
        event.tenant,
    )


def _content(event: StoredEvent) -> _Content:
    return (event.ts, event.kind, event.node_name, event.node_id)


def _by_sequence(event: StoredEvent) -> tuple[int, float]:
    return (event.seq or 0, event.ts)


def _by_time(event: StoredEvent) -> float:
    return event.ts
