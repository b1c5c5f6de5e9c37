"""The records of one task, as the replica writes them that works on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from penguiflow_nats.agent_site import AgentSite
from penguiflow_nats.call_questions import Dialogue, Question, packed
from penguiflow_nats.call_wire import (
    ANSWER,
    ASK,
    CONTINUED,
    FAILED,
    START,
    CallRequest,
    Piece,
    TaskRecord,
)
from penguiflow_nats.errors import PayloadTooLarge
from penguiflow_nats.object_errors import ObjectTooLarge
from penguiflow_nats.task_pieces import pieces_before
from penguiflow_nats.task_states import NOTHING, Held, StateMoved

_FRESH = 1.0
"""Seconds for which a request may have waited to be taken as if nothing had happened to it."""


class TaskRecords:
    """Claims a task and writes its records, each after the one before.

    Args:
        site: What the replica's calls share.
        task: The token of the task.
        moved: Told when somebody else wrote meanwhile.
    """

    def __init__(self, site: AgentSite, task: str, *, moved: Callable[[StateMoved], None]) -> None:
        self.task = task
        self.epoch = 1
        self.dialogue = Dialogue([], None)
        """What an earlier replica asked and was told."""
        self.answered_at = 0.0
        """When the newest answer was stored, by the server's clock."""
        self.streamed: Sequence[Piece] = ()
        """What earlier replicas streamed and stays."""
        self._site = site
        self._moved = moved
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._after = NOTHING
        self._writing: asyncio.Task[int] | None = None
        self.is_announced = False

    async def claim(
        self,
        request: CallRequest | None,
        *,
        num_delivered: int,
        waited: float = 0.0,
        continues: bool = False,
    ) -> None:
        """Become the replica whose answers count, and announce it when there is a request.

        A first delivery needs no question, unless the request has `waited` for some seconds: that
        nothing was written yet is checked by the first write.

        Raises:
            StateMoved: the task is over, or somebody was faster.
            NatsError: the server was away for too long.
        """
        first, states = num_delivered == 1, self._site.states
        if first and waited < _FRESH:
            return
        held = await states.read(self.task)
        if first and held is None:
            return  # it waited, and was not cancelled meanwhile
        self.is_announced = True
        if held is None:
            self.epoch = 2  # the first delivery may have sent events of epoch 1
        elif held.record.is_end:
            raise StateMoved(held)
        else:
            self.epoch, self._after = held.record.epoch + 1, held.sequence
            history = await states.history(self.task, up_to=held.sequence)
            self.dialogue = Dialogue.of([each.record for each in history])
            answers = [each.stored_at for each in history if each.record.kind == ANSWER]
            self.answered_at = max(answers, default=0.0)
        if request is not None and continues:
            await self._continue(request)
        elif request is not None:
            self._after = await self._announce(request)

    async def _continue(self, request: CallRequest) -> None:
        """Announce that what was streamed stays, and find out what that is: whatever lies before
        the announcement. What an earlier replica stores behind it is void."""
        self._after = await self._announce(request, CONTINUED)
        site = self._site
        connection = site.jetstream.connection
        found = await pieces_before(connection, site.names, self.task, sequence=self._after)
        if found is None:
            self.epoch += 1
            self._after = await self._announce(request)
        else:
            self.streamed = found

    async def _announce(self, request: CallRequest, state: str = "") -> int:
        record = msgspec.structs.replace(self._record(START, request), state=state)
        sequence = await self._site.states.advance(self.task, record, after=self._after)
        self._tell(request, record)
        return sequence

    def _tell(self, request: CallRequest | None, record: TaskRecord) -> None:
        if self._site.told is not None and request is not None:
            self._site.told(request, record)

    def _record(self, kind: str, request: CallRequest) -> TaskRecord:
        answerer = self._site.answerer
        return TaskRecord(
            kind=kind,
            epoch=self.epoch,
            agent=answerer.agent,
            instance=answerer.instance,
            skill=request.skill,
            context_id=request.context_id,
        )

    def announce_soon(self, request: CallRequest) -> None:
        """Announce the first epoch, without waiting."""
        if not self.is_announced:
            self.is_announced = True
            self._write(self._announce(request))

    def _write(self, record: Coroutine[Any, Any, int]) -> None:
        """Write a record in a task of its own: the end of the work must not interrupt it, or
        nobody would know what is the newest record."""
        self._writing = self._loop.create_task(record)
        self._writing.add_done_callback(self._written)

    def _written(self, writing: asyncio.Task[int]) -> None:
        error = None if writing.cancelled() else writing.exception()
        if isinstance(error, StateMoved):
            self._moved(error)

    async def settle(self) -> None:
        """Wait until what is written is stored.

        Raises:
            PayloadTooLarge: it was a question, and nothing was written.
            StateMoved: somebody else wrote first.
            NatsError: the server was away for too long.
        """
        if self._writing is None:
            return
        try:
            self._after = await asyncio.shield(self._writing)
        except PayloadTooLarge:
            self._writing = None
            raise
        self._writing = None

    async def ask(
        self, request: CallRequest, question: Question, *, state: str, events: int
    ) -> None:
        """Store a question. Raises as `settle`."""
        record = msgspec.structs.replace(
            self._record(ASK, request), state=state, result=packed(question), events=events
        )
        self._write(self._site.states.advance(self.task, record, after=self._after))
        await self.settle()
        self._tell(request, record)

    def answered(self, held: Held) -> None:
        """The record of an answer is the newest one."""
        self._after = held.sequence

    async def commit(self, end: TaskRecord, request: CallRequest | None) -> TaskRecord:
        """Write the end; gives the one that was written.

        Raises:
            StateMoved: somebody else wrote first.
            NatsError: the server was away for too long.
        """
        site, duration = self._site, self._loop.time() - self._began
        try:
            kept: Raw = await site.claims.check_in(self.task, end.result, keep=end.retain)
            end = msgspec.structs.replace(end, result=kept, duration=duration)
            await site.states.advance(self.task, end, after=self._after)
        except (PayloadTooLarge, ObjectTooLarge) as error:
            problem = (FAILED, "TOO_LARGE", f"the result is too large: {error}")
            end = site.answerer.end(request, problem, epoch=self.epoch, events=end.events)
            await site.states.advance(self.task, end, after=self._after)
        self._tell(request, end)
        return end

    def abandon(self) -> None:
        """Wait for nothing any more."""
        if self._writing is not None:
            self._writing.cancel()


__all__ = ["TaskRecords"]
