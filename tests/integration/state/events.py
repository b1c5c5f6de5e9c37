"""Events for the tests of this folder, and a process that saves them."""

from __future__ import annotations

import asyncio
import sys
from typing import Any
from uuid import uuid4

from penguiflow.state.records import StoredEvent
from penguiflow_nats.state_store import NatsStateStore


def trace() -> str:
    """A trace that nobody has used before."""
    return uuid4().hex


def event(trace_id: str, number: int = 0, **changes: Any) -> StoredEvent:
    """An event with an id that follows from trace and number."""
    fields: dict[str, Any] = {
        "ts": float(number),
        "kind": "node_success",
        "node_name": "node",
        "node_id": "node-1",
        "payload": {"number": number, "text": "x" * 100},
        "event_id": f"{trace_id}-{number}",
    }
    return StoredEvent(trace_id, **{**fields, **changes})


def events(trace_id: str, count: int, first: int = 0) -> list[StoredEvent]:
    """Several events of a trace."""
    return [event(trace_id, number) for number in range(first, first + count)]


async def save(url: str, trace_id: str, count: int) -> None:
    """What the process does: save events, the equal ones that every other process saves too."""
    async with NatsStateStore(url) as store:
        await store.save_events(events(trace_id, count))


if __name__ == "__main__":
    asyncio.run(save(sys.argv[1], sys.argv[2], int(sys.argv[3])))
