"""The events that a state store is given: each stored once, by its identity."""

from __future__ import annotations

from collections.abc import Sequence

from penguiflow.state.protocols import SupportsBulkEvents, SupportsTraceEnds
from penguiflow.state.records import StoredEvent
from penguiflow_nats import state_keys as keys
from penguiflow_nats.pipeline import Write
from penguiflow_nats.state_codec import event_identity, pack, pack_event
from penguiflow_nats.state_part import StatePart


class StateEvents(StatePart, SupportsBulkEvents, SupportsTraceEnds):
    """Saves events.

    An event's id is its key, and a key is written only when it is not there: so an event is stored
    once, whoever repeats it, also after the duplicate window and over restarts of the server.
    """

    async def save_event(self, event: StoredEvent) -> None:
        """Append an event.

        Raises:
            ForeignTenant: It belongs to another tenant than the store.
            NatsError: In durable mode, when it could not be confirmed.
        """
        await self.save_events((event,))

    async def save_events(self, events: Sequence[StoredEvent]) -> None:
        """Append events in this order, pipelined; a few MiB are on their way at most.

        When it raises, some may be stored: the same call again stores the rest.

        Raises:
            ForeignTenant: One belongs to another tenant than the store; nothing is stored.
            NatsError: In durable mode, when one could not be confirmed.
        """
        for event in events:
            self._room.check_tenant(event.tenant)
        if events:
            await self._room.tell(lambda: self._save(events))

    async def _save(self, events: Sequence[StoredEvent]) -> None:
        await self._room.open()
        noted: dict[str, None] = {}
        pipeline = self._room.pipeline()
        try:
            for event in events:
                place = f"{keys.trace_part(event.trace_id)}.{keys.part(event.tenant)}"
                if place not in self._room.noted and place not in noted:
                    await pipeline.send(await self._note("tr", place, event.trace_id, event.tenant))
                    noted[place] = None
                await pipeline.send(await self._write(event, place))
                if event.kind in self._room.terminal_kinds:
                    end = await self._note("end", place, event.trace_id, event.tenant)
                    await pipeline.send(end)
            await pipeline.flush()
        finally:
            pipeline.abandon()
        for place in noted:
            self._room.noted.add(place)

    async def _write(self, event: StoredEvent, place: str) -> Write:
        said = event_identity(event)
        identity = keys.named(event.event_id or "") if said is None else keys.unnamed(said)
        key = keys.entry_of(f"ev.{place}", identity)
        ttl = self._room.retention.events
        return await self._room.write_once(key, pack_event(event), ttl=ttl)

    async def mark_trace_ended(self, trace_id: str, *, tenant: str | None = None) -> None:
        """Note that nothing more happens in a trace: from now its retention counts.

        Raises:
            ForeignTenant: The tenant is another one than the store's.
            NatsError: It could not be confirmed.
        """
        self._room.check_tenant(tenant)
        await self._room.open()
        place = f"{keys.trace_part(trace_id)}.{keys.part(tenant)}"
        await self._room.send([await self._note("end", place, trace_id, tenant)])

    async def _note(self, kind: str, place: str, trace_id: str | None, tenant: str | None) -> Write:
        """A key that is there once: a token may be a hash, so the value has the names."""
        value = pack({"trace_id": trace_id, "tenant": tenant})
        return await self._room.write_once(f"{kind}.{place}", value, ttl=None)


__all__ = ["StateEvents"]
