"""What the connections of one memory log share: entries, consumers and listeners."""

from __future__ import annotations

from collections.abc import Mapping

from penguiflow.clock import Clock
from penguiflow.durable.log import ConsumerSpec, Key, Position, Stored
from penguiflow.memory.consumer import MemoryConsumer
from penguiflow.memory.entries import Entries
from penguiflow.memory.live import Live
from penguiflow.memory.objects import ObjectShelf
from penguiflow.memory.topics import Topics


class LogStore:
    """The server's side of a memory log. Every change is one step of the event loop."""

    def __init__(
        self, entries: Entries, clock: Clock, *, max_object_bytes: int | None = None
    ) -> None:
        self.entries = entries
        self.clock = clock
        self.topics: Topics = Topics()
        self._consumers: dict[str, MemoryConsumer] = {}
        self.live: Live = Live()
        self.objects: ObjectShelf = ObjectShelf(clock, max_bytes=max_object_bytes)
        self._round_until = float("-inf")

    def append(
        self,
        key: Key,
        data: bytes,
        headers: Mapping[str, str],
        *,
        after: Position | None,
        absent: Key | None,
    ) -> int:
        now = self.clock.now()
        self.expire()
        entry = self.entries.append(key, data, headers, after=after, absent=absent, now=now)
        for consumer in self._consumers.values():
            consumer.offer(entry)
        return entry.sequence

    def purge(self, trace: str, *, upto: int | None = None) -> int:
        removed = self.entries.purge(trace, upto=upto)
        self._forget(removed)
        return len(removed)

    def claim_round(self, seconds: float) -> bool:
        """Whether nobody else claimed a keeper's round for so many seconds."""
        now = self.clock.now()
        if now < self._round_until:
            return False
        self._round_until = now + seconds
        return True

    def expire(self) -> None:
        """Drop the end markers whose time is over. Called before whatever could see them."""
        self._forget(self.entries.expire(self.clock.now()))

    def consumer(self, spec: ConsumerSpec) -> MemoryConsumer:
        """The consumer of this name; a new one starts with what the log already holds."""
        self.expire()
        consumer = self._consumers.get(spec.name)
        if consumer is not None:
            consumer.check_joins(spec)
            return consumer
        consumer = MemoryConsumer(spec, self.entries.at, self.clock)
        for entry in self.entries.read(spec.patterns):
            consumer.ledger.offer(entry.sequence)
        self._consumers[spec.name] = consumer
        return consumer

    def settled_upto(self, name: str) -> int:
        """The sequence before the first that the consumer has not settled."""
        consumer = self._consumers.get(name)
        if consumer is None:
            return 0
        first = consumer.ledger.first_open
        return self.entries.last if first is None else first - 1

    def delete_consumer(self, name: str) -> bool:
        consumer = self._consumers.pop(name, None)
        if consumer is None:
            return False
        consumer.dismiss("the consumer was deleted")
        return True

    def _forget(self, removed: list[Stored]) -> None:
        if not removed:
            return
        for consumer in self._consumers.values():
            for entry in removed:
                consumer.forget(entry.sequence)
