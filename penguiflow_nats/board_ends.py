"""Ends that are not a worker's: a cancel, and a deadline that nobody was there to keep."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from penguiflow.durable.wire_errors import WireError
from penguiflow.serving.board import UnknownOrder
from penguiflow.serving.models import TaskSheet
from penguiflow_nats.board_index import Indexed
from penguiflow_nats.board_reading import GRACE
from penguiflow_nats.board_site import BoardSite
from penguiflow_nats.call_subjects import task_token
from penguiflow_nats.call_wire import ASK, CANCELLED, END, ENDS, EVERYTHING, FAILED, TaskRecord
from penguiflow_nats.errors import NatsError, NotConnected
from penguiflow_nats.task_states import NOTHING, Held, StateMoved

logger = logging.getLogger("penguiflow.nats")


Look: TypeAlias = Callable[[str], Awaitable[TaskSheet]]
"""Looks at a task, and ends it when it is overdue. Raises `UnknownOrder`."""


class BoardEnds:
    """Ends tasks of a board from outside."""

    def __init__(self, site: BoardSite) -> None:
        self._site = site
        self._seen = 0
        """Every task whose entry lies up to this sequence is over."""

    async def cancel(self, task_id: str) -> None:
        """Cancel a task unless it is over. Raises NatsError."""
        await self._end(task_id, CANCELLED, ("CANCELLED", "the caller cancelled the task"))

    async def expire(self, task_id: str) -> None:
        """Fail a task that should be over, or answered, by now. Raises NatsError."""
        await self._end(task_id, FAILED, ("DEADLINE_EXCEEDED", "nobody finished the task in time"))

    async def _end(self, task_id: str, state: str, error: tuple[str, str]) -> None:
        site, token = self._site, task_token(task_id)
        while True:
            held = await site.states.read(token)
            if held is not None and held.record.is_end:
                return
            if held is not None and held.record.kind == ASK and state == FAILED:
                error = ("NOT_ANSWERED", "nobody answered what the task asked")
            with contextlib.suppress(StateMoved):  # then look what it is now
                await site.states.advance(
                    token,
                    self._record(held, state, error),
                    after=NOTHING if held is None else held.sequence,
                )
                with contextlib.suppress(NotConnected):  # the worker's heartbeat finds it
                    site.connection.publish(site.names.cancel(site.agent), token.encode())
                return

    def _record(self, held: Held | None, state: str, error: tuple[str, str]) -> TaskRecord:
        return TaskRecord(
            kind=END,
            epoch=0 if held is None else held.record.epoch,
            agent=self._site.agent,
            state=state,
            events=EVERYTHING,
            error=error,
            retain=self._site.retain,
        )

    # Tasks that nobody looks at

    async def sweep_every(self, seconds: float, look: Look) -> None:
        """Look at what is overdue, again and again."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.sweep(look)
            except (NatsError, WireError) as error:
                logger.debug("sweep: %s", error)

    async def sweep(self, look: Look) -> None:
        """Look at what is overdue by its entry, which ends it if it is. Reads the entries from the
        oldest task on that is not over."""
        first_open: int | None = None
        last = self._seen
        async for found in self._site.index.oldest_first(self._seen):
            last = found.sequence
            if found.entry.state in ENDS or not found.entry.due:
                continue
            if found.entry.due + GRACE < self._site.clock.now():
                await self._settle(found, look)
            if first_open is None:
                first_open = found.sequence
        self._seen = last if first_open is None else first_open - 1

    async def _settle(self, found: Indexed, look: Look) -> None:
        """Look at a task, and correct its entry."""
        site, entry = self._site, found.entry
        try:
            sheet = await look(entry.task)
        except UnknownOrder:
            await site.index.remove(found)
            return
        if sheet.is_over:
            site.index.correct(found, entry.task, sheet.state.value, site.retain)
