"""The index of a task board: which tasks an owner has, in the order in which they changed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncGenerator
from typing import NamedTuple

import msgspec

from penguiflow.durable.tokens import token
from penguiflow.durable.wire_errors import WireError
from penguiflow_nats import error_codes
from penguiflow_nats.board_names import BoardNames, IndexEntry, read_entry, write_entry
from penguiflow_nats.errors import ApiError, NatsError
from penguiflow_nats.incoming import Reply
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.persist import persist
from penguiflow_nats.reply_pages import Page, read_page
from penguiflow_nats.stream_types import PubAck

logger = logging.getLogger("penguiflow.nats")

_WINDOW = 256
"""Sequences of the newest part that is read; each older part is four times as large."""
_WRITES = 256
"""Writes on their way that nobody waits for."""


class Indexed(NamedTuple):
    """An entry, and where it lies."""

    sequence: int
    subject: str
    entry: IndexEntry


class BoardIndex:
    """Entries of the tasks of one board. They say where to look; the records say what is."""

    def __init__(self, jetstream: JetStream, names: BoardNames, *, limit: float) -> None:
        self._jetstream = jetstream
        self._names = names
        self._limit = limit
        self._writing: set[asyncio.Future[PubAck]] = set()

    # Writing

    def _subject(self, owner: str, context: str, task: str) -> str:
        return self._names.index(owner, token(context), token(task))

    async def write(
        self, *, owner: str, context: str, task: str, state: str, due: float = 0.0
    ) -> None:
        """Write the entry of a task. Raises NatsError."""
        subject, data = self._subject(owner, context, task), write_entry(task, state, due)
        await persist(
            self._jetstream.connection,
            lambda: self._jetstream.append(subject, data),
            limit=self._limit,
            also=(error_codes.MAXIMUM_REACHED,),
        )

    def tell(
        self,
        *,
        owner: str,
        context: str,
        task: str,
        state: str,
        due: float = 0.0,
        ttl: float | None = None,
    ) -> None:
        """Write the entry, and wait for nothing: whoever finds an older one looks at the task.

        Args:
            owner: Whose task.
            context: Its conversation.
            task: The task.
            state: Where it stands.
            due: When it has to be over, or answered.
            ttl: Seconds for which it is still known.
        """
        self._tell(self._subject(owner, context, task), write_entry(task, state, due), ttl)

    def correct(self, found: Indexed, task: str, state: str, ttl: float) -> None:
        """Write over an entry that is older than the end of its task."""
        self._tell(found.subject, write_entry(task, state, 0.0), ttl)

    def _tell(self, subject: str, data: bytes, ttl: float | None) -> None:
        headers = {"Nats-TTL": str(max(1, math.ceil(ttl)))} if ttl is not None else None
        if len(self._writing) >= _WRITES:
            return
        try:
            writing = self._jetstream.append(subject, data, headers)
        except NatsError as error:
            logger.debug("index: %s", error)
            return
        self._writing.add(writing)
        writing.add_done_callback(self._written)

    def _written(self, writing: asyncio.Future[PubAck]) -> None:
        self._writing.discard(writing)
        if not writing.cancelled() and (error := writing.exception()) is not None:
            logger.debug("index: %s", error)

    async def remove(self, found: Indexed) -> None:
        """Remove the entry of a task that is not there any more."""
        with contextlib.suppress(NatsError):
            await self._jetstream.delete_message(self._names.stream, found.sequence)

    # Reading

    async def newest_first(
        self, owner: str, *, context: str | None = None, before: int | None = None
    ) -> AsyncGenerator[list[Indexed], None]:
        """The entries of an owner, from the newest on, in parts.

        Args:
            owner: Whose.
            context: Only those of this conversation.
            before: Only entries at smaller sequences.
        """
        subject = self._names.index(owner, "*" if context is None else token(context))
        high, width = before, _WINDOW
        if high is None:
            high = 1 + await self._last_sequence()
        nearby = True
        while high > 1:
            low = max(1, high - width)
            # What matches is told here at first: to the server, a filter costs more the more tasks
            # there are, which pays only where the tasks of an owner lie far apart.
            part = await self._between(None if nearby else subject, low, high)
            part = [each for each in part if not nearby or _fits(each.subject, subject)]
            nearby = nearby and len(part) * 8 > width
            if part:
                yield part[::-1]
            high, width = low, width * 4

    async def _between(self, subject: str | None, low: int, high: int) -> list[Indexed]:
        found: list[Indexed] = []
        cursor = low
        while True:
            page = await self._page(subject, cursor)
            for entry in page.entries:
                if entry.sequence >= high:
                    return found
                cursor = entry.sequence + 1
                if subject is None and not _is_index(entry.subject):
                    continue
                with contextlib.suppress(WireError):
                    found.append(Indexed(entry.sequence, entry.subject, read_entry(entry.data)))
            if not page.more:
                return found

    async def oldest_first(self, after: int) -> AsyncGenerator[Indexed, None]:
        """The entries of all owners behind a sequence."""
        subject, cursor = self._names.index(), after + 1
        while True:
            page = await self._page(subject, cursor)
            for entry in page.entries:
                cursor = entry.sequence + 1
                with contextlib.suppress(WireError):
                    yield Indexed(entry.sequence, entry.subject, read_entry(entry.data))
            if not page.more:
                return

    async def _page(self, subject: str | None, start: int) -> Page:
        connection = self._jetstream.connection
        return await persist(
            connection,
            lambda: read_page(connection, self._names.stream, subject, start=start),
            limit=self._limit,
        )

    async def _last_sequence(self) -> int:
        info = await persist(
            self._jetstream.connection,
            lambda: self._jetstream.stream_info(self._names.stream),
            limit=self._limit,
        )
        return info.state.last_seq

    async def count(self, owner: str, *, context: str | None = None) -> int:
        """How many entries an owner has."""
        subject = self._names.index(owner, "*" if context is None else token(context))
        body = msgspec.json.encode({"seq": 1, "next_by_subj": subject, "batch": 1})
        counted = 0

        def receive(reply: Reply) -> bool:
            nonlocal counted
            headers = reply.headers or {}
            if "Nats-Subject" in headers:
                counted = 1 + int(headers.get("Nats-Num-Pending", 0))
                return False
            status, description = reply.status_line()
            if status not in (204, 404):
                raise ApiError(status or 500, 0, description or "not a direct-get answer")
            return True

        connection, address = self._jetstream.connection, f"$JS.API.DIRECT.GET.{self._names.stream}"
        await persist(
            connection,
            lambda: connection.request_many(address, body, receive=receive),
            limit=self._limit,
        )
        return counted


def _is_index(subject: str) -> bool:
    return subject.split(".")[-4] == "index"


def _fits(subject: str, pattern: str) -> bool:
    """Whether a subject matches one with wildcards for single tokens."""
    found, wanted = subject.split("."), pattern.split(".")
    return len(found) == len(wanted) and all(
        each in ("*", token) for each, token in zip(wanted, found, strict=True)
    )


__all__ = ["BoardIndex", "Indexed"]
