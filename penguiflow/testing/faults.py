"""A log that fails on purpose, to see what the code above it makes of that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from penguiflow.clock import SYSTEM_CLOCK, Clock
from penguiflow.durable.log import (
    ConsumerSpec,
    Consumption,
    Key,
    Log,
    LogDelivery,
    Objects,
    Pattern,
    Position,
    Stored,
    Subscription,
)
from penguiflow.testing.bad_line import BadLine, Fault
from penguiflow.testing.faulty_consumption import FaultyConsumption

_ANY = (Fault.LOST, Fault.UNKNOWN, Fault.LATE)
# Of a call that opens something: what nobody knows of could never be closed.
_CLEAN = (Fault.LOST, Fault.LATE)


class FaultyObjects(Objects):
    """The objects of a log behind a bad connection."""

    def __init__(self, objects: Objects, line: BadLine) -> None:
        self._objects = objects
        self._line = line

    async def put(self, name: str, data: bytes) -> None:
        await self._line.attempt(partial(self._objects.put, name, data), *_ANY)

    async def get(self, name: str) -> bytes | None:
        return await self._line.attempt(partial(self._objects.get, name), *_ANY)

    async def remove_strays(self, is_wanted: Callable[[str], bool], *, before: float) -> int:
        remove = partial(self._objects.remove_strays, is_wanted, before=before)
        return await self._line.attempt(remove, *_ANY)


class FaultyLog(Log):
    """Another log behind a bad connection; every promise of `Log` still holds.

    A call fails with `LogUnavailable` before or after it took effect, or takes long; acks fail the
    same two ways; naks, terminations, renewals and broadcasts get lost; deliveries come late
    (with `longest_delay` beyond the lease: after their lease) or once more while the first one is
    still in hand.

    Args:
        log: The log that does the work.
        seed: Chooses the faults.
        rate: The share of calls that fail, from 0 to 1. It can be changed at any time.
        clock: Times the delays.
        longest_delay: Upper bound of a delay in seconds.
    """

    def __init__(
        self,
        log: Log,
        seed: int,
        *,
        rate: float = 0.1,
        clock: Clock = SYSTEM_CLOCK,
        longest_delay: float = 0.01,
    ) -> None:
        self.tenant: str = log.tenant
        self.system: str = log.system
        self.flow: str = log.flow
        self._log = log
        self._line = BadLine(seed, rate=rate, clock=clock, longest_delay=longest_delay)
        self.objects: Objects = FaultyObjects(log.objects, self._line)

    @property
    def rate(self) -> float:
        """The share of calls that fail; 0 heals the connection."""
        return self._line.rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._line.rate = rate

    @property
    def faults(self) -> Counter[Fault]:
        """How often each fault happened."""
        return self._line.faults

    @property
    def inline_bytes(self) -> int:
        return self._log.inline_bytes

    async def append(
        self,
        key: Key,
        data: bytes,
        *,
        after: Position | None = None,
        absent: Key | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        append = partial(self._log.append, key, data, after=after, absent=absent, headers=headers)
        return await self._line.attempt(append, *_ANY)

    async def get(self, key: Key) -> Stored | None:
        return await self._line.attempt(partial(self._log.get, key), *_ANY)

    async def read(self, patterns: Sequence[Pattern]) -> list[Stored]:
        return await self._line.attempt(partial(self._log.read, patterns), *_ANY)

    async def consume(
        self,
        spec: ConsumerSpec,
        deliver: Callable[[LogDelivery], None],
        *,
        window: int,
        on_gone: Callable[[str], Any],
    ) -> Consumption:
        consumption = FaultyConsumption(deliver, self._line)
        consume = partial(
            self._log.consume, spec, consumption.arrive, window=window, on_gone=on_gone
        )
        consumption.follow(await self._line.attempt(consume, *_CLEAN))
        return consumption

    async def scan(self, after: int, limit: int) -> list[Stored]:
        return await self._line.attempt(partial(self._log.scan, after, limit), *_ANY)

    async def settled_upto(self, consumer: str) -> int:
        return await self._line.attempt(partial(self._log.settled_upto, consumer), *_ANY)

    async def purge(self, trace: str, *, upto: int | None = None) -> int:
        return await self._line.attempt(partial(self._log.purge, trace, upto=upto), *_ANY)

    def broadcast(self, topic: str, data: bytes) -> None:
        if self._line.draw(Fault.LOST) is None:
            self._log.broadcast(topic, data)

    async def listen(self, topic: str, heard: Callable[[str, bytes], None]) -> Subscription:
        listen = partial(self._log.listen, topic, heard)
        return await self._line.attempt(listen, *_CLEAN)

    async def publish_live(self, trace: str, data: bytes) -> None:
        await self._line.attempt(partial(self._log.publish_live, trace, data), *_ANY)

    async def read_live(self, trace: str) -> list[bytes]:
        return await self._line.attempt(partial(self._log.read_live, trace), *_ANY)

    async def listen_live(self, trace: str, heard: Callable[[bytes], None]) -> Subscription:
        listen = partial(self._log.listen_live, trace, heard)
        return await self._line.attempt(listen, *_CLEAN)

    def server_time(self) -> float:
        return self._log.server_time()

    def server(self) -> tuple[str, int] | None:
        return self._log.server()

    async def keeps(self) -> float | None:
        return await self._line.attempt(self._log.keeps, *_CLEAN)

    async def synchronise(self) -> None:
        await self._log.synchronise()
