"""A small flow over a log: two nodes, then the end of the trace. It gives up on nothing."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from penguiflow.durable.log import (
    AlreadyCommitted,
    ConsumerSpec,
    Consumption,
    InputGone,
    Key,
    Kind,
    Log,
    LogDelivery,
    LogUnavailable,
    Pattern,
    Position,
    Stored,
)
from tests.contract.log.keys import end, record

T = TypeVar("T")

STEPS = {"a": Pattern(Kind.INGRESS), "b": Pattern(Kind.RECORD, node="a")}


class Witness:
    """Sees every append that the log took, also those whose answer was lost on the way."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.commits: Counter[Key] = Counter()
        self.data: dict[Key, bytes] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)

    async def append(self, key: Key, data: bytes, **conditions: object) -> int:
        sequence = await self._log.append(key, data, **conditions)  # type: ignore[arg-type]
        self.commits[key] += 1
        self.data[key] = data
        return sequence


class Pipeline:
    """One worker of both nodes. Its results are random, so that a second one would show."""

    def __init__(self, log: Log, *, lease: float, purges: bool) -> None:
        self._log = log
        self._lease = lease
        self._purges = purges
        self._consumptions: list[Consumption] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        for node, pattern in STEPS.items():
            await self._consume(node, pattern)

    async def stop(self) -> None:
        for consumption in self._consumptions:
            await consumption.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _consume(self, node: str, pattern: Pattern) -> None:
        def deliver(delivery: LogDelivery) -> None:
            task = asyncio.get_running_loop().create_task(self._work(node, delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: consumption.release())

        spec = ConsumerSpec(node, [pattern], lease=self._lease)
        consumption = await insist(
            lambda: self._log.consume(spec, deliver, window=4, on_gone=lambda _: None)
        )
        self._consumptions.append(consumption)

    async def _work(self, node: str, delivery: LogDelivery) -> None:
        source = delivery.stored
        key = Key(Kind.RECORD, source.key.trace, node, source.key.input)
        data = source.data + b"|" + node.encode() + uuid.uuid4().hex.encode()
        committed = await self._commit(key, data, source.position)
        if node == "b" and committed is not None:
            await self._finish(committed)
        # An ack that is not confirmed is followed by a redelivery, which finds the record.
        with contextlib.suppress(LogUnavailable):
            await delivery.ack()

    async def _commit(self, key: Key, data: bytes, after: Position) -> Stored | None:
        try:
            await insist(lambda: self._log.append(key, data, after=after))
        except AlreadyCommitted:
            pass
        except InputGone:
            return None
        return await insist(lambda: self._log.get(key))

    async def _finish(self, last: Stored) -> None:
        try:
            await insist(lambda: self._log.append(end(last.key.trace), b"", after=last.position))
        except AlreadyCommitted:
            pass
        except InputGone:
            return
        if self._purges:
            await insist(lambda: self._log.purge(last.key.trace))


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat while the outcome is unknown."""
    while True:
        try:
            return await call()
        except LogUnavailable:
            await asyncio.sleep(0)


def derives_from(child: Key, parent: Key, data: dict[Key, bytes]) -> bool:
    """Whether the one committed child was made from the one committed parent."""
    return data[child].startswith(data[parent] + b"|")


def keys_of(trace: str) -> list[Key]:
    return [record(trace, "a"), record(trace, "b"), end(trace)]
