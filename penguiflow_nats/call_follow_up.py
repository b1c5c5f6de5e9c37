"""A request for a task that exists: the same again, or the answer to what the task asks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import NamedTuple

from penguiflow_nats.call_errors import NotAsked
from penguiflow_nats.call_questions import Dialogue, reply_of, reply_to, says_the_same
from penguiflow_nats.call_subjects import CallNames
from penguiflow_nats.call_wire import ASK, START, CallRequest, TaskRecord, read_request
from penguiflow_nats.errors import NotConnected
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.persist import persist
from penguiflow_nats.task_states import StateMoved, TaskStates

_LOOK_AGAIN = 0.2
"""Seconds between looks at a task that has to ask its question once more."""
_PATIENCE = 60.0
"""Seconds to wait for that."""


class Place(NamedTuple):
    """Where a follower reads on: after what came before the question."""

    epoch: int
    number: int


class FollowUp:
    """A request whose task id is taken."""

    def __init__(
        self, jetstream: JetStream, names: CallNames, states: TaskStates, *, task: str
    ) -> None:
        self._jetstream = jetstream
        self._names = names
        self._states = states
        self._task = task

    async def settle(self, request: CallRequest, bounded: Callable[[float], float]) -> Place | None:
        """Answer the task's question, unless the request is known; None reads from the beginning.

        Args:
            request: What was to be submitted.
            bounded: What is left of so many seconds.

        Raises:
            NotAsked: the task works, every question was answered, and by other requests.
            TimeoutError: the task begins anew after a fault, and has not asked again yet.
            NatsError: the server is away for too long.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + bounded(_PATIENCE)
        while True:
            held = await self._states.read(self._task)
            if held is None or held.record.is_end or _is_first(held.record):
                return None
            history = await self._states.history(self._task, up_to=held.sequence)
            dialogue = Dialogue.of([each.record for each in history])
            for asked, answer in dialogue.answered:
                if says_the_same(reply_of(answer), request):
                    return _after(asked)
            if not (dialogue.answered or dialogue.open) or await self._is_original(request):
                return None
            if dialogue.open is None:
                raise NotAsked(request.task)
            if held.record.kind == ASK:
                with contextlib.suppress(StateMoved):  # then look what it is now
                    record = reply_to(held.record, request)
                    await self._states.advance(self._task, record, after=held.sequence)
                    self._tell(request.agent)
                    return _after(held.record)
            elif loop.time() >= give_up:
                msg = f"task {request.task} begins anew and has not asked again yet; answer later"
                raise TimeoutError(msg)
            else:
                await asyncio.sleep(_LOOK_AGAIN)

    def _tell(self, agent: str) -> None:
        with contextlib.suppress(NotConnected):  # the heartbeat finds it
            self._jetstream.connection.publish(self._names.cancel(agent), self._task.encode())

    async def _is_original(self, request: CallRequest) -> bool:
        """Whether it is the request that began the task, sent once more."""
        subject = self._names.request(request.agent, self._task)
        found = await persist(
            self._jetstream.connection,
            lambda: self._jetstream.get_last(self._names.calls_stream, subject),
            limit=_PATIENCE,
        )
        return found is not None and says_the_same(read_request(found.data), request)


def _is_first(record: TaskRecord) -> bool:
    """Whether nothing can have been asked before."""
    return record.kind == START and record.epoch == 1


def _after(asked: TaskRecord) -> Place:
    return Place(asked.epoch, asked.events)


__all__ = ["FollowUp", "Place"]
