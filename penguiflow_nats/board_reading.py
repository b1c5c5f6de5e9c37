"""Reading tasks of a board: as they are, and as they go on."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import NamedTuple, TypeAlias

import msgspec

from penguiflow.serving import models
from penguiflow.serving.board import UnknownOrder
from penguiflow.serving.models import TaskOrder, TaskSheet
from penguiflow_nats import call_wire
from penguiflow_nats.board_orders import live
from penguiflow_nats.board_site import BoardSite
from penguiflow_nats.call_questions import reply_of
from penguiflow_nats.call_subjects import task_token
from penguiflow_nats.call_wire import TaskRecord, read_request
from penguiflow_nats.jetstream import timestamp_ns
from penguiflow_nats.persist import persist
from penguiflow_nats.reply_feed import Answered, Asked, News, ReplyFeed, Started
from penguiflow_nats.stream_types import StoredMessage
from penguiflow_nats.task_states import Held

_POLL, _LONGEST_POLL = 0.5, 30.0
"""Seconds of silence after which a follower looks into the stream; the longest in the end."""
GRACE = 5.0
"""Seconds after a deadline in which the worker itself may say so."""

Expire: TypeAlias = Callable[[str], Awaitable[None]]


class Read(NamedTuple):
    """A task that was read."""

    sheet: TaskSheet
    due: float
    """When it has to be over, or answered, by the server's clock; 0 for never."""


class BoardReader:
    """Reads the tasks of a board."""

    def __init__(self, site: BoardSite, expire: Expire) -> None:
        self._site = site
        self._expire = expire

    async def order(self, task_id: str, owner: str | None = None) -> tuple[TaskOrder, float]:
        """The order that made a task, and when it was stored.

        Raises:
            UnknownOrder: there is none, or it is of another owner.
        """
        site = self._site
        subject = site.names.request(site.agent, task_token(task_id))
        found = await persist(
            site.connection,
            lambda: site.jetstream.get_last(site.names.calls_stream, subject),
            limit=site.unreachable,
        )
        if found is None:
            raise UnknownOrder(task_id)
        return await self._of_stored(found, task_id, owner)

    async def _of_stored(
        self, found: StoredMessage, task_id: str, owner: str | None
    ) -> tuple[TaskOrder, float]:
        request = read_request(found.data)
        message = await self._site.claims.output(request.message)
        if message is not request.message:
            request = msgspec.structs.replace(request, message=message)
        order = self._site.orders.order(request)
        if owner is not None and order.owner != owner:
            raise UnknownOrder(task_id)
        return order, timestamp_ns(found.timestamp) / 1e9

    async def read(self, task_id: str, *, owner: str | None, pieces: bool = True) -> Read:
        """A task as it is. Raises `UnknownOrder`."""
        token = task_token(task_id)
        (order, at), held = await asyncio.gather(
            self.order(task_id, owner), self._site.states.read(token)
        )
        if not pieces:
            return await self._recorded(order, at, token, held)
        feed = self._feed(token)
        try:
            sequence = 0 if held is None else held.sequence
            heard = await feed.until_now(sequence=sequence)
        finally:
            feed.close()
        return await self._read_of(order, at, heard, feed.record_at)

    async def _recorded(self, order: TaskOrder, at: float, token: str, held: Held | None) -> Read:
        """A task by its records alone."""
        records = [] if held is None else [held]
        if held is not None:
            records = await self._site.states.history(token, up_to=held.sequence)
        heard = [_heard(each) for each in records]
        return await self._read_of(order, at, heard, 0.0 if held is None else held.stored_at)

    def _feed(self, token: str) -> ReplyFeed:
        site = self._site
        return ReplyFeed(site.connection, site.names, token, all_questions=True)

    async def _read_of(
        self,
        order: TaskOrder,
        at: float,
        heard: list[News],
        end_at: float,
    ) -> Read:
        due = self.due(order, at, heard)
        news = await self.told(heard, end_at)
        return Read(TaskSheet(order=order, at=at, news=live(news)), due)

    async def told(self, heard: list[News], end_at: float) -> list[models.News]:
        """News, with what lay elsewhere."""
        whole: list[News] = []
        for each in heard:
            if isinstance(each, TaskRecord):
                whole.append(await self._site.claims.record(each))
            elif isinstance(each, Answered):
                whole.append(each._replace(record=await self._site.claims.record(each.record)))
            else:
                whole.append(each)
        return self._site.orders.news(whole, end_at)

    def due(self, order: TaskOrder, at: float, heard: list[News]) -> float:
        """When a task has to be over, or answered; 0 for never."""
        since, budget = at, order.budget
        for each in heard:
            if isinstance(each, TaskRecord):
                return 0.0
            if isinstance(each, Asked):
                since, budget = each.at, self._site.answer_wait
            elif isinstance(each, Answered):
                since, budget = each.at, reply_of(each.record).budget
        return 0.0 if budget is None else since + budget

    @contextlib.asynccontextmanager
    async def following(
        self, task_id: str, *, owner: str, order: TaskOrder | None = None
    ) -> AsyncIterator[BoardFollowing]:
        """Follow a task; a new one by its order, which is not read then."""
        feed = self._feed(task_token(task_id))
        feed.open()
        try:
            if order is not None:
                now = self._site.clock.now()
                read = Read(
                    TaskSheet(order=order, at=now),
                    0.0 if order.budget is None else now + order.budget,
                )
            else:
                known, at = await self.order(task_id, owner)
                held = await self._site.states.read(task_token(task_id))
                heard = await feed.until_now(sequence=0 if held is None else held.sequence)
                read = await self._read_of(known, at, heard, feed.record_at)
            yield BoardFollowing(self, self._site, feed, read, self._expire)
        finally:
            feed.close()


def _heard(held: Held) -> News:
    """A record as a follower hears it."""
    record = held.record
    match record.kind:
        case call_wire.START:
            void = record.epoch > 1 and record.state != call_wire.CONTINUED
            return Started(record.epoch, void, held.stored_at)
        case call_wire.ASK:
            return Asked(record, held.stored_at)
        case call_wire.ANSWER:
            return Answered(record, held.stored_at)
        case _:
            return record


class BoardFollowing:
    """`Following` of a task on NATS."""

    def __init__(
        self, reader: BoardReader, site: BoardSite, feed: ReplyFeed, read: Read, expire: Expire
    ) -> None:
        self.sheet = read.sheet
        self._reader = reader
        self._site = site
        self._feed = feed
        self._due = read.due
        self._expire = expire

    async def news(self) -> AsyncGenerator[models.News, None]:
        """See `Following`."""
        if self.sheet.is_over:
            return
        silence, loop = 0.0, asyncio.get_running_loop()
        while True:
            began = loop.time()
            wait = min(_LONGEST_POLL, max(_POLL, silence)) * random.uniform(1.0, 2.0)  # noqa: S311
            heard = self._feed.at_hand() or await self._feed.next(self._bounded(wait))
            if heard is None:
                silence += loop.time() - began
                self._feed.catch_up()
                if self._overdue() >= 0:
                    await self._expire(self.sheet.order.task_id)
                continue
            silence = 0.0
            self._move_due(heard)
            for news in await self._reader.told([heard], self._feed.record_at):
                yield news
            if isinstance(heard, TaskRecord):
                return

    def _overdue(self) -> float:
        """Seconds since the task had to be over; negative until then."""
        return self._site.clock.now() - self._due - GRACE if self._due else -math.inf

    def _bounded(self, wait: float) -> float:
        return max(0.01, min(wait, -self._overdue()))

    def _move_due(self, heard: News) -> None:
        if isinstance(heard, Asked | Answered):
            order = self.sheet.order
            self._due = self._reader.due(order, self.sheet.at, [heard])
