"""The end of what a state store keeps: a trace at a time, by hand or by its retention."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from penguiflow.state.protocols import SupportsRetention, SupportsSweep
from penguiflow_nats import state_keys as keys
from penguiflow_nats.claims import CLAIM
from penguiflow_nats.kv import KeyValue
from penguiflow_nats.series import SeriesReader
from penguiflow_nats.state_codec import pack, unpack
from penguiflow_nats.state_history import Reason
from penguiflow_nats.state_part import StatePart
from penguiflow_nats.state_trim import trim_all

_AT_ONCE = 32
_BLOCK = 256
_STRAY = timedelta(hours=1)
"""Age after which a large value without a key is not one that is just being written."""


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What one sweep removed."""

    ended: int
    """Traces whose time after their terminal state was over."""
    idle: int
    """Traces whose last event was too old."""
    crowded: int
    """Traces that went since there were too many."""
    trimmed: int
    """Entries of traces and sessions that had too many."""
    values: int
    """Large values that no key names any more."""


class StateSweep(StatePart, SupportsRetention, SupportsSweep):
    """Removes traces: first a tombstone is written, then what it stands for goes.

    What is saved for a trace after its removal begins a new history; the tombstone stays.
    """

    async def delete_trace(self, trace_id: str, *, tenant: str | None = None) -> bool:
        """Forget a trace, of one tenant or of all; whether there was anything to forget.

        Raises:
            NatsError: It could not be confirmed; call again, some of it may be gone.
        """
        await self._room.open()
        return await self._forget(keys.trace_part(trace_id), keys.part_or_any(tenant), "deleted")

    async def expire_traces(self, *, older_than: timedelta) -> int:
        """Forget every trace whose last event is older, by the server's clock; how many.

        A trace for which a remote task may still work stays.

        Raises:
            NatsError: It could not be confirmed; call again.
        """
        kv = await self._room.open()
        latest = await self._room.server_time() - older_than.total_seconds()
        live = await self._with_live_bindings()
        traces = {key.split(".")[1] for key in await kv.keys("tr.*.*")} - live

        async def expire(trace: str) -> bool:
            newest = [
                await kv.entry(f"ev.{trace}.>"),
                await kv.entry(f"pe.{trace}.>"),
                await kv.entry(f"tr.{trace}.*"),
            ]
            if any(entry is not None and entry.stored_at >= latest for entry in newest):
                return False
            return await self._forget(trace, keys.ANY, "idle")

        return await _count(expire, traces)

    async def sweep(self) -> SweepReport:
        """Apply the retention to whole traces, and tidy up.

        Harmless when several processes do it at once.

        Raises:
            NatsError: It could not be confirmed; call again.
        """
        retention = self._room.retention
        ended = idle = 0
        if retention.after_end is not None:
            kv = await self._room.open()
            latest = await self._room.server_time() - retention.after_end.total_seconds()
            ends = await kv.read(["end.*.*"])
            over = {entry.key for entry in ends if entry.stored_at < latest}

            async def forget(key: str) -> bool:
                _, trace, tenant = key.split(".")
                newest = await kv.entry(f"ev.{trace}.{tenant}.>")
                if newest is not None and newest.stored_at >= latest:
                    return False  # it went on after its end, or its last events were late
                return await self._forget(trace, tenant, "ended")

            ended = await _count(forget, over)
        if retention.idle is not None:
            idle = await self.expire_traces(older_than=retention.idle)
        crowded = await self._thin_out(retention.max_traces)
        trimmed = await trim_all(self._room, _total, self._trimmed)
        strays = await self._remove_strays()
        return SweepReport(ended, idle, crowded, trimmed, strays)

    async def _thin_out(self, most: int | None) -> int:
        """Remove the traces that moved last the longest ago, beyond a number of them."""
        kv = await self._room.open()
        if most is None:
            return 0
        noted = await kv.read(["tr.*.*"])
        if len(noted) <= most:
            return 0
        live = await self._with_live_bindings()
        moved: dict[str, float] = {}

        async def look(key: str, begun: float) -> None:
            newest = await kv.entry(f"ev.{key.removeprefix('tr.')}.>")
            moved[key] = begun if newest is None else newest.stored_at

        for start in range(0, len(noted), _AT_ONCE):
            some = noted[start : start + _AT_ONCE]
            await asyncio.gather(*(look(entry.key, entry.stored_at) for entry in some))
        free = [
            key for key in sorted(moved, key=moved.__getitem__) if key.split(".")[1] not in live
        ]

        async def forget(key: str) -> bool:
            _, trace, tenant = key.split(".")
            return await self._forget(trace, tenant, "crowded")

        return await _count(forget, free[: len(noted) - most])

    async def _trimmed(self, place: str, count: int) -> None:
        """The oldest events of a trace go: what is known of it says how many went in all."""
        kv, key = self._room.kv, f"rm.{place}"
        noted = await kv.read([f"tr.{place}", key])
        known = {entry.key: unpack(entry.value) for entry in noted}
        named = known.get(f"tr.{place}", {"trace_id": None, "tenant": None})
        before = known.get(key, {})
        gone = before["events"] if before.get("reason") == "trimmed" else 0
        stone = {**named, "reason": "trimmed", "events": gone + count}
        await kv.put(key, pack(stone), ttl=self._room.retention.tombstones)

    async def _remove_strays(self) -> int:
        kv = await self._room.open()
        latest = await self._room.server_time() - _STRAY.total_seconds()
        return await self._room.claims.remove_strays(kv, before=latest)

    async def _with_live_bindings(self) -> set[str]:
        """The traces whose remote task may still run."""
        return {
            entry.key.split(".")[1]
            for entry in await self._room.kv.read([keys.bindings()])
            if not unpack(entry.value)["binding"]["is_terminal"]
        }

    async def _forget(self, trace: str, tenant: str, reason: Reason) -> bool:
        """Remove what belongs to a trace; all tokens, the tenant's may be "*"."""
        kv = self._room.kv
        events = f"ev.{trace}.{tenant}"
        last = await kv.entry(f"{events}.>")
        gone = 0
        if last is not None:
            await self._release_claims(kv, events)
            await self._bury(kv, trace, tenant, reason)
            # Only what was there: an event that arrives meanwhile is a new beginning.
            gone += await kv.purge(f"{events}.>", below=last.revision + 1)
        for filter_ in (f"bi.{trace}.{tenant}.*.*", keys.places_of(f"{trace}.{tenant}.*.*")):
            gone += await kv.purge(filter_)
        for kind in ("tr", "end"):
            await kv.purge(f"{kind}.{trace}.{tenant}")
        if await kv.entry(f"ev.{trace}.>") is None:
            # Planner events have no tenant: they stay as long as anybody has this trace.
            gone += await kv.purge(f"pe.{trace}.>")
        self._room.noted.forget(trace)
        return gone > 0

    async def _bury(self, kv: KeyValue, trace: str, tenant: str, reason: Reason) -> None:
        """Write the tombstones: one for each tenant that has the trace."""
        counts = Counter(key.split(".")[2] for key in await kv.keys(f"ev.{trace}.{tenant}.>"))
        noted = await kv.read([f"tr.{trace}.{tenant}"])
        names = {entry.key.split(".")[2]: unpack(entry.value) for entry in noted}
        for each, count in counts.items():
            named = names.get(each, {"trace_id": None, "tenant": None})
            stone: dict[str, Any] = {**named, "reason": reason, "events": count}
            ttl = self._room.retention.tombstones
            await kv.put(f"rm.{trace}.{each}", pack(stone), ttl=ttl)

    async def _release_claims(self, kv: KeyValue, series: str) -> None:
        """Remove the large values of a series. What was small all along costs nothing here."""
        if not await self._room.claims.objects.is_used():
            return
        reader = SeriesReader(kv, series)
        while not reader.ended:
            for entry in await reader.take(_BLOCK):
                if CLAIM in entry.headers:
                    await self._room.claims.release(entry)


async def _total(action: Callable[[str], Awaitable[int]], items: Iterable[str]) -> int:
    """The sum of what the action gives for the items, some of them at once."""
    wanted, total = sorted(items), 0
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        total += sum(await asyncio.gather(*(action(each) for each in some)))
    return total


async def _count(action: Callable[[str], Awaitable[bool]], items: Iterable[str]) -> int:
    """How many of the items the action was true for, some of them at once."""
    wanted, count = sorted(items), 0
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        count += sum(await asyncio.gather(*(action(each) for each in some)))
    return count


__all__ = ["StateSweep", "SweepReport"]
