"""Writes that wait together go to the disk together, where the disk is what they wait for.

A server with `sync_interval: always` syncs each write by itself; an atomic batch is synced once. On
a server that does not sync, a batch costs more than its writes. Nobody tells a client which it is,
so it is measured: when writes are slow though many are on their way, they are sent in batches for a
trial, and go on so if that is faster.

A batch is all or nothing, each write under its own conditions. One that is refused is sent again
write by write, and every write gets its own answer.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from penguiflow_nats.errors import ConnectionClosed, NatsError, NoResponders, OutcomeUnknown
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.stream_types import PubAck

SLOW = 4_000.0
"""Single writes per second below which batches are tried; a server that does not sync does more."""
GAIN = 1.2
"""How many times as fast batches must be."""
_SAMPLE = 256
"""Writes by which either way is judged."""
_BUSY = 16
"""Writes on their way, or waiting, from which on a batch is worth its price."""
_MOST = 512
"""Writes of a batch; the server takes 1,000."""
_MOST_BYTES = 2 * 1024 * 1024
_GATHER = 0.25
"""Share of a batch's time for which the next one gathers."""
_LONGEST_GATHER = 0.02
_AGAIN = 60.0
"""Seconds until batches are tried again that were not faster."""
_LONGEST = 300.0
"""Seconds after which single writes are tried again."""


class _Write(NamedTuple):
    subject: str
    data: bytes
    headers: Mapping[str, str] | None
    receipt: asyncio.Future[PubAck]


class GroupCommit:
    """Sends the writes of one log, one by one or in batches.

    Args:
        jetstream: Where to write.
        slow: Single writes per second below which batches are tried.
        gain: How many times as fast they must be to go on.
    """

    def __init__(
        self, jetstream: JetStream, *, slow: float | None = None, gain: float = GAIN
    ) -> None:
        self._jetstream = jetstream
        self._slow = SLOW if slow is None else slow
        self._gain = gain
        self.is_grouping = False
        self.batches = 0
        """Batches that were stored."""
        self._waiting: deque[_Write] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._started = 0
        self._finished = 0
        self._was_busy = False
        self._since = 0.0
        self._singles = 0.0
        """Single writes per second when batches were begun."""
        self._until = 0.0
        """When the present way ends: batches if they go on, single writes if they were faster."""
        self._grouped = (0, 0, 0.0)
        """Batches, their writes and seconds, of this trial."""

    def send(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None
    ) -> asyncio.Future[PubAck]:
        """Store a message; `finished` must follow. As `JetStream.append`."""
        self._started += 1
        if not self.is_grouping:
            return self._jetstream.append(subject, data, headers)
        receipt: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Write(subject, data, headers, receipt))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send(), name="penguiflow:group-commit")
        return receipt

    def finished(self) -> None:
        """A write has its answer, or nobody waits for it any more."""
        self._finished += 1
        if self._started - self._finished < _BUSY:
            self._was_busy = False
        if self._finished % _SAMPLE == 0 and not self.is_grouping:
            self._judge_singles()

    def _judge_singles(self) -> None:
        now = time.monotonic()
        took, self._since = now - self._since, now
        was_busy, self._was_busy = self._was_busy, True
        if was_busy and now >= self._until and took * self._slow > _SAMPLE:
            self.begin(singles=_SAMPLE / took)

    def begin(self, *, singles: float) -> None:
        """Try batches, and go on with them if they are faster than so many writes per second."""
        self._singles = singles
        self._grouped = (0, 0, 0.0)
        self._until = time.monotonic() + _LONGEST
        self.is_grouping = True

    def _judge_batches(self, writes: int, took: float) -> None:
        batches, before, seconds = self._grouped
        self._grouped = batches, writes, seconds = batches + 1, before + writes, seconds + took
        now = time.monotonic()
        if now >= self._until:
            self._stop(until=0.0)
        elif batches >= 4 and writes >= _SAMPLE:
            self._grouped = (0, 0, 0.0)
            if writes < self._gain * self._singles * seconds:
                self._stop(until=now + _AGAIN)

    def _stop(self, *, until: float) -> None:
        self.is_grouping = False
        self._was_busy = False
        self._until = until

    async def _send(self) -> None:
        """Send what waits, round after round: while one is on its way the next one gathers."""
        try:
            await asyncio.sleep(0)  # what is written in the same turn goes together
            while self._waiting:
                writes = self._take()
                if len(writes) < _BUSY:
                    await self._one_by_one(writes)
                else:
                    took = await self._together(writes)
                    # What the answers set free comes back a moment later: one batch, not two.
                    await asyncio.sleep(min(_GATHER * took, _LONGEST_GATHER))
        finally:
            self._sender = None
            for write in self._waiting:  # only when the loop ends under us
                _fail(write, OutcomeUnknown(write.subject, "the sender of writes ended"))
            self._waiting.clear()

    def _take(self) -> list[_Write]:
        taken: list[_Write] = []
        size = 0
        while self._waiting and len(taken) < _MOST and size < _MOST_BYTES:
            write = self._waiting.popleft()
            if not write.receipt.done():  # else nobody waits for it any more
                taken.append(write)
                size += len(write.data)
        return taken

    async def _one_by_one(self, writes: list[_Write]) -> None:
        sent = []
        for write in writes:
            try:
                answer = self._jetstream.append(write.subject, write.data, write.headers)
            except NatsError as problem:
                _fail(write, problem)
                continue
            sent.append(asyncio.ensure_future(_hand_on(answer, write)))
        if sent:
            await asyncio.wait(sent)

    async def _together(self, writes: list[_Write]) -> float:
        began = time.monotonic()
        try:
            last = await self._batch(writes)
        except (OutcomeUnknown, NoResponders, ConnectionClosed) as problem:
            for write in writes:
                _fail(write, problem)
            return 0.0
        except NatsError:
            await self._one_by_one(writes)  # one of them was refused, and this tells which
            return 0.0
        self.batches += 1
        first = last.seq - len(writes) + 1
        for number, write in enumerate(writes):
            if not write.receipt.done():
                write.receipt.set_result(msgspec.structs.replace(last, seq=first + number))
        took = time.monotonic() - began
        self._judge_batches(len(writes), took)
        return took

    def _batch(self, writes: list[_Write]) -> asyncio.Future[PubAck]:
        """Send a batch whole, without a turn of the loop in between; the last write is answered.

        Raises:
            NatsError: a part could not be sent. The server forgets the others.
        """
        identity, last = secrets.token_hex(8), len(writes)
        publish = self._jetstream.connection.publish
        for number, write in enumerate(writes[:-1], 1):
            publish(write.subject, write.data, headers=_part(write, identity, number))
        write = writes[-1]
        headers = {**_part(write, identity, last), "Nats-Batch-Commit": "1"}
        return self._jetstream.append(write.subject, write.data, headers)


def _part(write: _Write, identity: str, number: int) -> dict[str, str]:
    """The headers of a part of a batch."""
    own = {"Nats-Batch-Id": identity, "Nats-Batch-Sequence": str(number)}
    return {**write.headers, **own} if write.headers else own


async def _hand_on(answer: asyncio.Future[PubAck], write: _Write) -> None:
    try:
        receipt = await answer
    except NatsError as problem:
        _fail(write, problem)
        return
    if not write.receipt.done():
        write.receipt.set_result(receipt)


def _fail(write: _Write, problem: NatsError) -> None:
    if not write.receipt.done():
        write.receipt.set_exception(problem)
