"""A log in this process, with the semantics of the durable one.

It fences, redelivers, counts and fills up as JetStream does, on a clock that a test can turn. What
it does not do is survive the process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penguiflow.clock import SYSTEM_CLOCK, Clock
from penguiflow.durable.log import (
    INLINE_BYTES,
    ConsumerSpec,
    Key,
    Log,
    LogDelivery,
    Objects,
    Pattern,
    Position,
    Stored,
)
from penguiflow.memory.consumption import Line, MemoryConsumption
from penguiflow.memory.entries import Entries
from penguiflow.memory.loop import turn
from penguiflow.memory.objects import MemoryObjects
from penguiflow.memory.store import LogStore
from penguiflow.memory.topics import MemorySubscription

_FENCES = 1024
"""Bytes that headers may take of an entry."""


class MemoryLog(Log):
    """One connection to a log in memory; `connect` opens another one to the same log.

    All connections belong to one event loop. The signature and the promises of the methods are
    those of `penguiflow.durable.log.Log`.

    Args:
        tenant: Whose log it is.
        flow: Which flow it carries.
        clock: Where time stamps, leases and delays come from.
        max_entries: Entries the log takes until it is full; no limit when None.
        max_bytes: Bytes the log takes until it is full; no limit when None.
        max_entry_bytes: Bytes of payload and headers that one entry may have.
        max_object_bytes: Bytes that all objects take until there is no room; no limit when None.
        end_ttl: Seconds after which an end marker leaves the log; never when None.
        store: The log to join; the clock and the limits are then its own.
    """

    def __init__(
        self,
        tenant: str = "default",
        flow: str = "flow",
        *,
        clock: Clock = SYSTEM_CLOCK,
        max_entries: int | None = None,
        max_bytes: int | None = None,
        max_entry_bytes: int = 1_000_000,
        max_object_bytes: int | None = None,
        end_ttl: float | None = 86_400.0,
        store: LogStore | None = None,
    ) -> None:
        self.tenant = tenant
        self.system = "memory"
        self.flow = flow
        entries = Entries(
            max_entries=max_entries,
            max_bytes=max_bytes,
            max_entry_bytes=max_entry_bytes,
            end_ttl=end_ttl,
        )
        self._store = store or LogStore(entries, clock, max_object_bytes=max_object_bytes)
        self._line = Line()
        self.objects: Objects = MemoryObjects(self._store.objects, self._line)
        self._consumptions: list[MemoryConsumption] = []
        self._subscriptions: list[MemorySubscription] = []

    @property
    def inline_bytes(self) -> int:
        return min(INLINE_BYTES, self._store.entries.max_entry_bytes - _FENCES)

    async def append(
        self,
        key: Key,
        data: bytes,
        *,
        after: Position | None = None,
        absent: Key | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        try:
            self._line.check()
            return self._store.append(key, data, headers or {}, after=after, absent=absent)
        finally:
            # As with a server, others may act on the entry before its writer goes on, and a
            # writer that tries again and again does not hold up the loop.
            await turn()

    async def get(self, key: Key) -> Stored | None:
        await turn()
        self._line.check()
        self._store.expire()
        return self._store.entries.get(key)

    async def read(self, patterns: Sequence[Pattern]) -> list[Stored]:
        await turn()
        self._line.check()
        self._store.expire()
        return self._store.entries.read(patterns)

    async def consume(
        self,
        spec: ConsumerSpec,
        deliver: Callable[[LogDelivery], None],
        *,
        window: int,
        on_gone: Callable[[str], Any],
    ) -> MemoryConsumption:
        if window < 1:
            msg = f"a window of {window} takes nothing"
            raise ValueError(msg)
        await turn()
        self._line.check()
        consumer = self._store.consumer(spec)
        consumption = MemoryConsumption(
            consumer, self._line, deliver, window=window, on_gone=on_gone
        )
        self._consumptions = [old for old in self._consumptions if not old.is_stopped]
        self._consumptions.append(consumption)
        consumer.join(consumption)
        return consumption

    async def scan(self, after: int, limit: int) -> list[Stored]:
        await turn()
        self._line.check()
        self._store.expire()
        found = self._store.entries.read([Pattern()])
        return [entry for entry in found if entry.sequence > after][:limit]

    async def settled_upto(self, consumer: str) -> int:
        await turn()
        self._line.check()
        return self._store.settled_upto(consumer)

    async def purge_below(self, sequence: int) -> int:
        self._line.check()
        removed = 0
        for trace in {entry.key.trace for entry in self._store.entries.read([Pattern()])}:
            removed += self._store.purge(trace, upto=sequence - 1)
        await turn()
        return removed

    async def claim_round(self, seconds: float) -> bool:
        self._line.check()
        return self._store.claim_round(seconds)

    async def purge(self, trace: str, *, upto: int | None = None) -> int:
        self._line.check()
        removed = self._store.purge(trace, upto=upto)
        await turn()
        return removed

    def broadcast(self, topic: str, data: bytes) -> None:
        if self._line.is_up:
            self._store.topics.broadcast(topic, data)

    async def listen(self, topic: str, heard: Callable[[str, bytes], None]) -> MemorySubscription:
        self._line.check()
        subscription = self._store.topics.listen(topic, heard)
        self._subscriptions = [old for old in self._subscriptions if old.is_active]
        self._subscriptions.append(subscription)
        await turn()
        return subscription

    async def publish_live(self, trace: str, data: bytes) -> None:
        self._line.check()
        self._store.live.add(trace, data)
        await turn()

    async def read_live(self, trace: str) -> list[bytes]:
        await turn()
        self._line.check()
        return self._store.live.read(trace)

    async def listen_live(self, trace: str, heard: Callable[[bytes], None]) -> MemorySubscription:
        self._line.check()
        subscription = self._store.live.topics.listen(trace, lambda _, data: heard(data))
        self._subscriptions.append(subscription)
        await turn()
        return subscription

    def server_time(self) -> float:
        return self._store.clock.now()

    def server(self) -> tuple[str, int] | None:
        return None

    async def keeps(self) -> float | None:
        await turn()
        return None

    async def synchronise(self) -> None:
        await turn()

    def connect(self) -> MemoryLog:
        """Another connection to this log, as a second worker has it."""
        return MemoryLog(self.tenant, self.flow, store=self._store)

    def kill(self) -> None:
        """Break this connection as the death of its worker does: nothing is settled or handed
        back, what was in hand comes again when its lease ends, and every later call fails."""
        self._line.is_up = False
        for consumption in self._consumptions:
            consumption.end()
        for subscription in self._subscriptions:
            subscription.end()
        self._consumptions.clear()
        self._subscriptions.clear()

    async def close(self) -> None:
        """Stop the consumptions and subscriptions of this connection. Idempotent."""
        for consumption in self._consumptions:
            await consumption.stop()
        self.kill()

    async def delete_consumer(self, name: str) -> bool:
        """Remove a durable consumer as an operator does; whoever works on it hears `on_gone`."""
        self._line.check()
        deleted = self._store.delete_consumer(name)
        await turn()
        return deleted
