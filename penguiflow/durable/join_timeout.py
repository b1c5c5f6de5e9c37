"""Joins whose time is over: the record that says so, and what comes too late for it.

The timer of a group is set by whoever sees the group incomplete, under a key that is the same for
all, for a time that follows from the group's first message. When it rings and the group is still
incomplete, the group gets a record with outcome `failed`. That record and the joined message have
the same key: exactly one of them is committed.

A message that is not in the record came too late. It gets a record of its own, so that its share
of the trace is not missed, and becomes a dead letter.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from penguiflow.async_tasks import this_task
from penguiflow.durable.arrivals import arrived_in
from penguiflow.durable.dead_letters import DeadLetter, DeadLetters, Reason
from penguiflow.durable.delivery import DurableDelivery
from penguiflow.durable.envelope import NONE, VERSION, Envelope, Output, decode, encode
from penguiflow.durable.log import AlreadyCommitted, InputGone, Key, Kind, Log, LogDelivery, Stored
from penguiflow.durable.notes import Notes
from penguiflow.durable.topology import record_key
from penguiflow.invocation import Invocation
from penguiflow.join import Join, join_timeout

if TYPE_CHECKING:
    from penguiflow.durable.commit import Commit
    from penguiflow.durable.inputs import Input
    from penguiflow.errors import FlowError
    from penguiflow.node import Node


class TooLate(Exception):
    """The join's time was over when this message came."""


class _Acked:
    """An input that nobody has in hand: it was acked when its group was seen incomplete."""

    num_delivered = 0

    def __init__(self, stored: Stored) -> None:
        self.stored = stored

    async def ack(self) -> None:
        """It is settled already; so with the others."""

    async def nak(self, delay: float = 0.0) -> None:
        pass

    async def term(self, reason: str) -> None:
        pass

    def in_progress(self) -> None:
        pass


class JoinTimeout:
    """The timeout of one join node.

    Args:
        node: The join node.
        join: What it joins, with a timeout.
        token: The node's token.
        commit: Writes the records.
        dead_letters: Where the inputs go that were not joined in time.
        worker: Names this worker.
    """

    def __init__(
        self,
        node: Node,
        join: Join,
        log: Log,
        *,
        token: str,
        commit: Commit,
        dead_letters: DeadLetters,
        worker: str,
    ) -> None:
        assert join.timeout_s is not None  # noqa: S101 - there is none of a join without
        self._node = node
        self._seconds: float = join.timeout_s
        self._log = log
        self._token = token
        self._commit = commit
        self._dead_letters = dead_letters
        self._worker = worker

    async def set(self, group: str, first: Stored, own: Stored, envelope: Envelope) -> None:
        """See to it that the timer of an incomplete group is set.

        Args:
            group: The id of the group's record.
            first: The group's first input.
            own: The input in hand.
            envelope: Its envelope.
        """
        timer = Envelope(
            v=VERSION,
            tenant=envelope.tenant,
            flow=envelope.flow,
            trace=envelope.trace,
            node=str(self._node.name),
            input=group,
            outputs=(Output(NONE, (), due=first.timestamp + self._seconds),),
            client=envelope.client,
            traceparent=envelope.traceparent,
            tracestate=envelope.tracestate,
        )
        key = Key(Kind.TIMER, own.key.trace, self._token, group)
        with contextlib.suppress(AlreadyCommitted, InputGone):
            await self._log.append(key, encode(timer), after=own.position)

    async def arrived(self, trace: str, group: str) -> int | None:
        """How many messages the group had when its time was over; None when it was not."""
        record = await self._log.get(record_key(trace, self._token, group))
        return None if record is None else arrived_in(decode(record.data))

    async def end(
        self, entry: LogDelivery, envelope: Envelope, share: str, *, arrived: int, expected: int
    ) -> None:
        """Commit that the group's time is over, unless it has a record.

        Args:
            entry: The timer.
            envelope: The timer's envelope.
            share: What part of the submission the messages carry that are there.
            arrived: How many they are.
            expected: How many there should be.
        """
        key = record_key(entry.stored.key.trace, self._token, envelope.input)
        delivery = self._delivery(entry, envelope, envelope.input, share, key)
        run = Invocation(self._node, delivery, this_task())
        error = self.error(envelope.trace, arrived=arrived, expected=expected)
        await self._commit.failure(delivery, run, error)

    def error(self, trace_id: str, *, arrived: int, expected: int) -> FlowError:
        """The error of a group whose time is over."""
        seconds = self._seconds
        return join_timeout(self._node, trace_id, seconds, arrived=arrived, expected=expected)

    async def late(self, stored: Stored, value: Input, envelope: Envelope) -> None:
        """Commit that an input came too late, and bury it. Repeating it changes nothing."""
        key = record_key(stored.key.trace, self._token, value.input_id)
        held = self._delivery(_Acked(stored), envelope, value.input_id, value.share, key)
        name = str(self._node.name)
        with contextlib.suppress(InputGone):
            await self._commit.dead(held, name, Reason.JOIN_TIMEOUT, self.too_late())

    def too_late(self) -> str:
        """What is said of a message that came too late."""
        return f"it came too late for join {self._node.name!r}, which waits {self._seconds:g} s"

    def _delivery(
        self, entry: LogDelivery, envelope: Envelope, identity: str, share: str, key: Key
    ) -> DurableDelivery:
        return DurableDelivery(
            entry,
            envelope,
            value=None,
            input_id=identity,
            share=share,
            record_key=key,
            again=_never,
            hold_limit=0.0,
            notes=Notes(self._log),
        )

    async def bury(self, stored: Stored) -> None:
        """Keep an input that waited in vain."""
        letter = DeadLetter(
            stored=stored,
            node=str(self._node.name),
            reason=Reason.JOIN_TIMEOUT,
            detail=f"join {self._node.name!r} did not get all its messages in {self._seconds:g} s",
            deliveries=0,
            worker=self._worker,
        )
        await self._dead_letters.bury(letter)


def _never(delivery: DurableDelivery, delay: float) -> None:
    """It is not run, so it is not run again."""
