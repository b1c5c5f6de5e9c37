"""Where tasks stand: one subject per task, written by compare-and-set.

A replica that starts an epoch, a replica that ends the task and a caller that cancels it all write
to the same subject, each expecting what it read last. So there is one order of epochs and one end,
a replica that was replaced cannot end the task, and a cancel that says "cancelled" is true.
"""

from __future__ import annotations

import asyncio
import functools
from typing import NamedTuple

from penguiflow_nats import error_codes
from penguiflow_nats.call_subjects import CallNames
from penguiflow_nats.call_wire import TaskRecord, encode, read_record
from penguiflow_nats.errors import ApiError
from penguiflow_nats.jetstream import JetStream, timestamp_ns
from penguiflow_nats.persist import persist
from penguiflow_nats.reply_pages import read_page
from penguiflow_nats.stream_types import StoredMessage

_FENCE = "Nats-Expected-Last-Subject-Sequence"
_NO_ROOM = (error_codes.MAXIMUM_REACHED, error_codes.INSUFFICIENT_RESOURCES)

_LAG_TRIES, _LAG_PAUSE = 100, 0.02

NOTHING = 0
"""The sequence to expect when nothing was written yet."""


class Held(NamedTuple):
    """The newest record of a task, and where it lies."""

    record: TaskRecord
    sequence: int
    data: bytes
    stored_at: float = 0.0
    """Seconds since the epoch by the server's clock."""

    @classmethod
    def of(cls, stored: StoredMessage) -> Held:
        """From the stored message. Raises WireError."""
        at = timestamp_ns(stored.timestamp) / 1e9
        return cls(read_record(stored.data), stored.sequence, stored.data, at)


class StateMoved(Exception):
    """Somebody else wrote first.

    Attributes:
        held: What is there now; None when the task was removed.
    """

    def __init__(self, held: Held | None) -> None:
        super().__init__("the state of the task was changed by somebody else")
        self.held = held


class TaskStates:
    """The states of a tenant's tasks. Tasks are given by their token."""

    def __init__(self, jetstream: JetStream, names: CallNames, *, limit: float = 60.0) -> None:
        self._jetstream = jetstream
        self._names = names
        self._limit = limit

    async def read(self, task: str) -> Held | None:
        """The newest record; None when no replica has begun.

        Raises:
            NatsError: the server cannot be asked.
            WireError: the record cannot be read.
        """
        stream, subject = self._names.replies_stream, self._names.state(task)
        found = await persist(
            self._jetstream.connection,
            lambda: self._jetstream.get_last(stream, subject),
            limit=self._limit,
        )
        return None if found is None else Held.of(found)

    async def history(self, task: str, *, up_to: int) -> list[Held]:
        """All records of a task, from the first to the one at sequence `up_to`.

        Raises:
            NatsError: the server cannot be asked.
            WireError: a record cannot be read.
        """
        stream, subject = self._names.replies_stream, self._names.state(task)
        connection, found, cursor = self._jetstream.connection, list[Held](), 0
        for _ in range(_LAG_TRIES):
            page = await persist(
                connection,
                functools.partial(read_page, connection, stream, subject, start=cursor + 1),
                limit=self._limit,
            )
            for entry in page.entries:
                found.append(
                    Held(read_record(entry.data), entry.sequence, entry.data, entry.stored_at)
                )
                cursor = entry.sequence
            if cursor >= up_to:
                break
            if not page.entries:  # a server that lags behind the stream's leader answered
                await asyncio.sleep(_LAG_PAUSE)
        return found

    async def advance(self, task: str, record: TaskRecord, *, after: int) -> int:
        """Write a record after the one at sequence `after` (or `NOTHING`); gives its sequence.

        Repeats by itself while the outcome is unknown, and while the stream has no room.

        Raises:
            StateMoved: something else is the newest record.
            PayloadTooLarge: the server does not take that much; nothing was written.
            NatsError: the server cannot be asked.
        """
        subject, data = self._names.state(task), encode(record)
        headers = {_FENCE: str(after)}

        async def write() -> int:
            return (await self._jetstream.append(subject, data, headers)).seq

        try:
            return await persist(
                self._jetstream.connection, write, limit=self._limit, also=_NO_ROOM
            )
        except ApiError as error:
            if error.err_code != error_codes.WRONG_LAST_SEQUENCE:
                raise
        held = await self.read(task)
        if held is not None and held.data == data:
            return held.sequence  # an earlier try of this very write, whose answer was lost
        raise StateMoved(held)
