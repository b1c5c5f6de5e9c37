"""Whose turn it is at a node that keeps the order of a key.

Nothing more is written for it: the log has the order. A worker that is handed an input reads on in
the log up to that input. Then it knows every input of the node that may still be open, whoever
holds it, and waits until no earlier one of the same key is. An input is over when it has its record
(and what follows from that is written), or when it left the log. So what keeps the order is the
log alone: broadcasts and memory only make it fast.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from penguiflow.clock import Clock
from penguiflow.durable.claims import Claims, ObjectMissing
from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.envelope import decode
from penguiflow.durable.inputs import input_for
from penguiflow.durable.log import (
    Key,
    Kind,
    Log,
    LogDelivery,
    LogUnavailable,
    Stored,
    Subscription,
)
from penguiflow.durable.topology import record_key
from penguiflow.durable.wire_errors import WireError
from penguiflow.node import Node

_BATCH = 256
"""Entries read at once."""
_FIRST_POLL, _LONGEST_POLL = 0.1, 2.0
"""Seconds after which somebody who waits looks into the log, at first and at most."""
_LAG_TRIES, _LAG_PAUSE = 50, 0.05


class NotYet(Exception):
    """The input is to be handed back: its turn has not come, and it must not wait here."""


@dataclass(slots=True, eq=False)
class _Open:
    """An input that may still be open."""

    key: Hashable
    sequence: int
    entry: Key
    record: Key
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Turns:
    """The order of one node's inputs, as one worker sees it.

    Args:
        node: The node, with `order_by`.
        token: Its token.
        log: The log of the flow.
        finish: Writes what is left of a committed record. Safe to repeat.
        room: How many inputs may wait here at once.
    """

    def __init__(
        self,
        node: Node,
        token: str,
        log: Log,
        *,
        codec: ValueCodec,
        claims: Claims,
        clock: Clock,
        finish: Callable[[Stored], Awaitable[None]],
        room: int,
    ) -> None:
        assert node.policy.order_by is not None  # noqa: S101 - else nobody asks for turns
        self.key_of: Callable[[Any], Hashable] = node.policy.order_by
        self._name = str(node.name)
        self._token = token
        self._log = log
        self._codec = codec
        self._claims = claims
        self._clock = clock
        self._finish = finish
        self._room = room
        self._open: dict[Hashable, dict[int, _Open]] = {}
        self._by_record: dict[Key, _Open] = {}
        self._by_sequence: dict[int, _Open] = {}
        self._here: set[int] = set()
        """Sequences of the inputs in hand here."""
        self._parked = 0
        self._upto = -1
        self._reading = asyncio.Lock()
        self._closed = False
        self._heard: Subscription | None = None

    async def start(self) -> None:
        """Hear what other workers settle. Raises `LogError`."""
        self._heard = await self._log.listen(f"turn.{self._token}", self._hear)

    async def close(self) -> None:
        """Let nobody wait any more: who does is to be handed back."""
        self._closed = True
        for waited in self._by_sequence.values():
            waited.over.set()
        if self._heard is not None:
            await self._heard.unsubscribe()

    def watched(self, delivery: LogDelivery) -> LogDelivery:
        """The delivery, so that its settlement lets the next one go."""
        self._here.add(delivery.stored.sequence)
        return _Watched(delivery, self)

    @property
    def is_closed(self) -> bool:
        """Whether nobody waits here any more."""
        return self._closed

    async def wait(self, entry: Stored, key: Hashable) -> bool:
        """Return when no earlier input of the key is open.

        Returns:
            Whether that took any time.

        Raises:
            NotYet: it cannot wait here.
            LogError: the log does not answer.
        """
        waited = False
        self._parked += 1
        try:
            await self._read_upto(entry)
            while (before := self._before(key, entry.sequence)) is not None:
                waited = True
                await self._until_over(before)
        finally:
            self._parked -= 1
        return waited

    def _before(self, key: Hashable, sequence: int) -> _Open | None:
        """The last open input of the key before this one."""
        if self._closed:
            raise NotYet
        found = None
        for waited in self._open.get(key, {}).values():
            if waited.sequence >= sequence:
                break
            found = waited
        return found

    async def _until_over(self, waited: _Open) -> None:
        poll = _FIRST_POLL
        while waited.sequence in self._by_sequence and not self._closed:
            if waited.sequence not in self._here:
                # A look that is not answered is no reason to give up: the next one may be.
                with contextlib.suppress(LogUnavailable):
                    if await self._is_over(waited):
                        self._over(waited.sequence)
                        return
                if self._parked >= self._room:
                    raise NotYet  # its worker may have died: there must be a place for it
            # The event is for speed; whoever is woken looks again.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(poll):
                    await waited.over.wait()
            poll = min(_LONGEST_POLL, 2 * poll)

    async def _is_over(self, waited: _Open) -> bool:
        """Whether the input has its record and all that follows from it, or left the log."""
        record = await self._log.get(waited.record)
        if record is None:
            return await self._log.get(waited.entry) is None
        if decode(record.data).expanded:
            await self._finish(record)
        return True

    # Reading on

    async def _read_upto(self, entry: Stored) -> None:
        if self._upto >= entry.sequence:
            return
        async with self._reading:
            if self._upto < 0:
                self._upto = await self._log.settled_upto(self._token)
            tries = 0
            while self._upto < entry.sequence:
                found = await self._log.scan(self._upto, _BATCH)
                for each in found:
                    await self._see(each)
                    self._upto = each.sequence
                if found:
                    continue
                if await self._log.get(entry.key) is None:
                    return  # its trace left the log: nothing of it can be committed
                tries += 1
                if tries > _LAG_TRIES:
                    msg = "a replica of the log is behind for too long"
                    raise LogUnavailable(msg)
                await self._clock.sleep(_LAG_PAUSE)

    async def _see(self, entry: Stored) -> None:
        """Take an entry in; one that cannot be read, or has no key, is in nobody's way."""
        key = entry.key
        if key.kind is Kind.RECORD and key.node == self._token:
            waited = self._by_record.get(key)
            if waited is not None and not decode(entry.data).expanded:
                self._over(waited.sequence)
        if key.kind.is_marker or key.kind in (Kind.NOTE, Kind.TIMER):
            return
        try:
            envelope = decode(entry.data)
            found = input_for(entry, envelope, self._name)
            if found is None or envelope.tenant != self._log.tenant:
                return
            value = self._codec.unpack_output(await self._claims.output(found.output))
            order = self.key_of(value)
            hash(order)
        except (WireError, ObjectMissing):
            return
        except Exception:  # noqa: BLE001 - the user's function; its own delivery reports it
            return
        record = record_key(key.trace, self._token, found.input_id)
        waited = _Open(order, entry.sequence, key, record)
        self._open.setdefault(order, {})[entry.sequence] = waited
        self._by_record[record] = self._by_sequence[entry.sequence] = waited

    # What is over

    def _hear(self, topic: str, data: bytes) -> None:
        if data.isdigit():
            self._over(int(data))

    def settled(self, sequence: int) -> None:
        """An input in hand here was settled for good."""
        self.left(sequence)
        self._over(sequence)
        self._log.broadcast(f"turn.{self._token}", b"%d" % sequence)

    def left(self, sequence: int) -> None:
        """An input is not in hand here any more."""
        self._here.discard(sequence)

    def _over(self, sequence: int) -> None:
        waited = self._by_sequence.pop(sequence, None)
        if waited is None:
            return
        self._by_record.pop(waited.record, None)
        of_key = self._open[waited.key]
        del of_key[sequence]
        if not of_key:
            del self._open[waited.key]
        waited.over.set()


class _Watched:
    """A delivery whose settlement is told to its turns."""

    __slots__ = ("_delivery", "_turns", "num_delivered", "stored")

    def __init__(self, delivery: LogDelivery, turns: Turns) -> None:
        self._delivery = delivery
        self._turns = turns
        self.stored: Stored = delivery.stored
        self.num_delivered: int = delivery.num_delivered

    async def ack(self) -> None:
        await self._delivery.ack()
        self._turns.settled(self.stored.sequence)

    async def nak(self, delay: float = 0.0) -> None:
        self._turns.left(self.stored.sequence)
        await self._delivery.nak(delay)

    async def term(self, reason: str) -> None:
        await self._delivery.term(reason)
        self._turns.settled(self.stored.sequence)

    def in_progress(self) -> None:
        self._delivery.in_progress()


__all__ = ["NotYet", "Turns"]
