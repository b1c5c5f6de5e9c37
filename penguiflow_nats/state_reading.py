"""Histories of a state store: whole, page by page, or live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from penguiflow.state.protocols import SupportsTenantHistory
from penguiflow.state.records import StoredEvent
from penguiflow_nats import state_keys as keys
from penguiflow_nats.kv_bucket import Entry
from penguiflow_nats.series import SeriesReader
from penguiflow_nats.state_codec import unpack, unpack_event
from penguiflow_nats.state_history import HistoryPage, RecordedEvent, TraceRemoval, in_order
from penguiflow_nats.state_part import StatePart

_BLOCK = 256
_SETTLE = 0.02
"""Seconds after which an event that was seen on its way is usually stored."""


class StateReading(StatePart, SupportsTenantHistory):
    """Reads events. What a history costs follows its own length, not that of the bucket."""

    async def load_history(self, trace_id: str) -> list[StoredEvent]:
        """All events of a trace, ordered by `in_order`; empty if unknown or removed.

        It has every event that was confirmed before the call, also while others write.

        Raises:
            NatsError: The server does not answer.
            MalformedValue: An event is of a type that is not known in this process.
        """
        return await self._history(keys.events(keys.trace_part(trace_id)))

    async def load_tenant_history(self, trace_id: str, *, tenant: str) -> list[StoredEvent]:
        """The same for one of the tenants that share a trace id."""
        return await self._history(keys.events(keys.trace_part(trace_id), keys.part(tenant)))

    async def _history(self, prefix: str) -> list[StoredEvent]:
        kv = await self._room.open()
        entries = await SeriesReader(kv, prefix).all()
        events = [await self._event(entry) for entry in entries]
        return in_order(events, [entry.revision for entry in entries])

    async def load_history_page(
        self, trace_id: str, *, limit: int = 500, after: int = 0, tenant: str | None = None
    ) -> HistoryPage:
        """A part of a history, in the order in which it was recorded.

        Args:
            trace_id: The trace.
            limit: How many events at most.
            after: `HistoryPage.after` of the page before; zero is the beginning.
            tenant: Only this tenant's events; None is all.

        Raises:
            NatsError: The server does not answer.
            MalformedValue: An event is of a type that is not known in this process.
        """
        kv = await self._room.open()
        prefix = keys.events(keys.trace_part(trace_id), keys.part_or_any(tenant))
        reader = SeriesReader(kv, prefix, after=after)
        entries = await reader.take(max(limit, 0))
        events = [await self._recorded(entry) for entry in entries]
        cursor = entries[-1].revision if entries else after
        removed = await self.trace_removal(trace_id, tenant=tenant)
        return HistoryPage(events, cursor, not reader.ended, removed)

    async def follow_history(
        self,
        trace_id: str,
        *,
        after: int = 0,
        tenant: str | None = None,
        poll: float = 0.5,
        until_end: bool = False,
    ) -> AsyncIterator[RecordedEvent]:
        """The events of a trace as they are recorded: first those there are, then each new one.

        None is left out, also over reconnects and restarts of the server: what passes by on the
        event's own subject is only a hint to ask, and it asks without a hint too. It ends when the
        trace is removed.

        Args:
            trace_id: The trace.
            after: Only events after this sequence, where a former reader stopped.
            tenant: Only this tenant's events; None is all.
            poll: Seconds after which it asks without a hint.
            until_end: Whether it also ends when the trace has ended and all events were given.

        Raises:
            NatsError: The server did not answer for too long.
            MalformedValue: An event is of a type that is not known in this process.
        """
        kv = await self._room.open()
        place = f"{keys.trace_part(trace_id)}.{keys.part_or_any(tenant)}"
        hint = asyncio.Event()
        hints = kv.connection.subscribe(kv.subject(f"ev.{place}.>"), lambda _: hint.set())
        try:
            while True:
                marks = await kv.read([f"rm.{place}", *([f"end.{place}"] if until_end else [])])
                reader = SeriesReader(kv, f"ev.{place}", after=after)
                while not reader.ended:
                    for entry in await reader.take(_BLOCK):
                        after = entry.revision
                        yield await self._recorded(entry)
                if any(_ends_a_follower(mark, after) for mark in marks):
                    return
                await _hinted(hint, poll)
        finally:
            hints.unsubscribe()

    async def trace_removal(
        self, trace_id: str, *, tenant: str | None = None
    ) -> TraceRemoval | None:
        """What is left of a trace that is gone; None if it never was there, or still is.

        Raises:
            NatsError: The server does not answer.
        """
        kv = await self._room.open()
        place = f"{keys.trace_part(trace_id)}.{keys.part_or_any(tenant)}"
        found = await kv.read([f"rm.{place}", f"tr.{place}"])
        stones = [entry for entry in found if entry.key.startswith("rm.")]
        if stones:
            return _removal(stones[-1], unpack(stones[-1].value))
        if found and await self._gone(f"ev.{place}"):
            return TraceRemoval("expired", None, unpack(found[-1].value).get("tenant"), 0)
        return None

    async def _gone(self, prefix: str) -> bool:
        """Whether a series has no entries but the markers of those that went."""
        return not await SeriesReader(self._room.kv, prefix).take(1)

    async def _event(self, entry: Entry) -> StoredEvent:
        return unpack_event(await self._room.claims.value(entry))

    async def _recorded(self, entry: Entry) -> RecordedEvent:
        return RecordedEvent(await self._event(entry), entry.revision, _time(entry.stored_at))


def _ends_a_follower(mark: Entry, after: int) -> bool:
    """Whether a trace has ended, or was removed as a whole, after what a follower has seen."""
    if mark.key.startswith("end."):
        return True
    return mark.revision > after and unpack(mark.value)["reason"] != "trimmed"


def _removal(stone: Entry, noted: dict[str, Any]) -> TraceRemoval:
    removed_at = _time(stone.stored_at)
    return TraceRemoval(noted["reason"], removed_at, noted["tenant"], noted["events"])


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


async def _hinted(hint: asyncio.Event, poll: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(poll):
            await hint.wait()
            hint.clear()
            await asyncio.sleep(_SETTLE)


__all__ = ["StateReading"]
