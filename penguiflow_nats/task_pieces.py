"""What was streamed for a task before a replica took it over, from the stream."""

from __future__ import annotations

import asyncio
import functools

from penguiflow_nats.call_subjects import STATE, CallNames
from penguiflow_nats.call_wire import CONTINUED, START, Piece, read_events, read_record
from penguiflow_nats.connection import Connection
from penguiflow_nats.persist import persist
from penguiflow_nats.reply_pages import read_page

_MOST = 16 * 1024 * 1024
"""Bytes of messages that are kept in memory for a handler to go on from."""
_LAG_TRIES, _LAG_PAUSE = 100, 0.02
_LIMIT = 60.0
"""Seconds for which the server may be away."""


class Pieces:
    """The pieces that count, fed with all messages of a task in the order of the stream."""

    def __init__(self) -> None:
        self.epoch = 0
        self.found: list[Piece] = []
        self.is_whole = True
        """Whether none is missing."""

    def take(self, subject: str, data: bytes) -> None:
        """The next message. Raises WireError."""
        if subject.endswith(f".{STATE}"):
            record = read_record(data)
            if record.kind == START and record.epoch > self.epoch:
                self._begin(record.epoch, anew=record.state != CONTINUED)
            return
        events = read_events(data)
        if events.epoch > self.epoch:
            self._begin(events.epoch, anew=True)
        if events.epoch < self.epoch:
            return  # stored after another replica had taken over
        known = len(self.found) - events.n
        if known < 0:
            self.is_whole = False
        else:
            self.found.extend(events.pieces[known:])

    def _begin(self, epoch: int, *, anew: bool) -> None:
        self.epoch = epoch
        if anew:
            self.found, self.is_whole = [], True


async def pieces_before(
    connection: Connection, names: CallNames, task: str, *, sequence: int
) -> list[Piece] | None:
    """The pieces that were stored before a record of the task.

    Args:
        connection: Where the server is.
        names: The tenant's.
        task: The token of the task.
        sequence: Of the record.

    Returns:
        The pieces; None when one is missing, or when they are too many to go on from.

    Raises:
        NatsError: the server cannot be asked.
        WireError: what is stored cannot be read.
    """
    stream, subject = names.replies_stream, names.answers(task)
    pieces, cursor, size = Pieces(), 0, 0
    for _ in range(_LAG_TRIES):
        while True:
            read = functools.partial(read_page, connection, stream, subject, start=cursor + 1)
            page = await persist(connection, read, limit=_LIMIT)
            for entry in page.entries:
                if entry.sequence >= sequence:
                    return pieces.found if pieces.is_whole else None
                pieces.take(entry.subject, entry.data)
                cursor, size = entry.sequence, size + len(entry.data)
            if size > _MOST:
                return None
            if not page.more:
                break
        # The server that answered lags behind the stream's leader.
        await asyncio.sleep(_LAG_PAUSE)
    return None


__all__ = ["Pieces", "pieces_before"]
