"""A task as the protocol shows it, and the events that change it: a fold over its news. Pure.

All followers fold the same news, so they see the same events in the same order.
"""

from __future__ import annotations

import copy
import math
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from a2a.types.a2a_pb2 import (
    Artifact,
    Message,
    Part,
    Role,
    SendMessageRequest,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
)

from penguiflow.remote_models import RemoteTaskState
from penguiflow.serving.models import Answered, Asked, Began, Ended, News, Piece, TaskSheet
from penguiflow_a2a.outcome import unpack_outcome
from penguiflow_a2a.parts import data_part, parts_of

Event: TypeAlias = Task | Message | TaskStatusUpdateEvent | TaskArtifactUpdateEvent

STATES = {
    RemoteTaskState.UNSPECIFIED: TaskState.TASK_STATE_UNSPECIFIED,
    RemoteTaskState.SUBMITTED: TaskState.TASK_STATE_SUBMITTED,
    RemoteTaskState.WORKING: TaskState.TASK_STATE_WORKING,
    RemoteTaskState.COMPLETED: TaskState.TASK_STATE_COMPLETED,
    RemoteTaskState.FAILED: TaskState.TASK_STATE_FAILED,
    RemoteTaskState.CANCELLED: TaskState.TASK_STATE_CANCELED,
    RemoteTaskState.INPUT_REQUIRED: TaskState.TASK_STATE_INPUT_REQUIRED,
    RemoteTaskState.AUTH_REQUIRED: TaskState.TASK_STATE_AUTH_REQUIRED,
    RemoteTaskState.REJECTED: TaskState.TASK_STATE_REJECTED,
}

_STREAM = "stream"
_UNTOLD = ("HANDLER_EXCEPTION", "NODE_EXCEPTION")
"""Codes whose texts come from an exception that was not made for callers."""


class TaskPicture:
    """A task at one moment. `of` folds what is known, `take` what comes."""

    def __init__(self, sheet: TaskSheet, *, failure_texts: bool = False) -> None:
        order = sheet.order
        self.message: Message | None = None
        """What the flow answered, when that was a bare message."""
        self._failure_texts = failure_texts
        self._task_id, self._context_id = order.task_id, order.context_id
        self._state = RemoteTaskState.SUBMITTED
        self._status = self._status_of(RemoteTaskState.SUBMITTED, sheet.at)
        self._history = [self._heard(order.content)]
        self._streams: list[list[str]] = []
        """The texts of each streamed artifact, piece by piece."""
        self._open = False
        """Whether the last one goes on."""
        self._result: Artifact | None = None
        for news in sheet.news:
            self.fold(news)

    @property
    def state(self) -> RemoteTaskState:
        """Where the task stands."""
        return self._state

    def task(self, *, artifacts: bool = True) -> Task:
        """The task as it is."""
        task = Task(id=self._task_id, context_id=self._context_id, status=self._status)
        task.history.extend(self._history)
        if artifacts:
            for number, texts in enumerate(self._streams):
                task.artifacts.append(self._streamed(number, "".join(texts)))
            if self._result is not None:
                task.artifacts.append(self._result)
        return task

    def after(self, news: Iterable[News]) -> TaskPicture:
        """Another picture: the task once these have happened too."""
        later = copy.deepcopy(self)
        for each in news:
            later.fold(each)
        return later

    # Taking news

    def fold(self, news: News) -> None:
        """Fold one piece of news, told to nobody."""
        for _ in self.take(news):
            pass

    def take(self, news: News) -> Iterator[Event]:
        """Fold one piece of news; gives the events that tell it. To be exhausted."""
        match news:
            case Piece():
                if self._state is RemoteTaskState.SUBMITTED:
                    yield self._move(RemoteTaskState.WORKING, 0.0)
                yield self._append(news)
            case Began():
                yield from self._void() if news.again else ()
                if self._state is not RemoteTaskState.WORKING:
                    yield self._move(RemoteTaskState.WORKING, news.at)
            case Asked():
                text = self._said(news.question)
                yield self._move(news.state, news.at, text)
            case Answered():
                if self._status.HasField("message"):
                    self._history.append(self._status.message)
                self._history.append(self._heard(news.content))
                yield self._move(RemoteTaskState.WORKING, news.at)
            case Ended():
                yield from self._end(news)

    def _end(self, end: Ended) -> Iterator[Event]:
        if self._state is RemoteTaskState.SUBMITTED and end.state is RemoteTaskState.COMPLETED:
            self._move(RemoteTaskState.WORKING, end.at)  # too short for anybody to tell
        outcome = unpack_outcome(end.result)
        if isinstance(outcome, Message):
            self.message = outcome
        if self._open:
            yield self._append(Piece("", done=True))
        if isinstance(outcome, Artifact):
            self._result = outcome
            yield TaskArtifactUpdateEvent(
                task_id=self._task_id,
                context_id=self._context_id,
                artifact=outcome,
                last_chunk=True,
            )
        reason = self.message or (self._said(self._reason(end)) if end.error else None)
        yield self._move(end.state, end.at, reason)

    def _reason(self, end: Ended) -> str:
        code, text = end.error or ("", "")
        hidden = end.state is RemoteTaskState.FAILED and code in _UNTOLD
        shown = "the agent failed" if hidden and not self._failure_texts else text
        return f"{code}: {shown}"

    def _void(self) -> Iterator[Event]:
        """A worker begins anew: what was streamed is replaced, first by nothing."""
        streamed = len(self._streams)
        self._streams, self._open = [], False
        for number in range(streamed):
            yield TaskArtifactUpdateEvent(
                task_id=self._task_id,
                context_id=self._context_id,
                artifact=self._streamed(number, ""),
                metadata={"restarted": True},
            )

    def _append(self, piece: Piece) -> TaskArtifactUpdateEvent:
        if not self._open:
            self._streams.append([])
        texts = self._streams[-1]
        event = TaskArtifactUpdateEvent(
            task_id=self._task_id,
            context_id=self._context_id,
            artifact=self._streamed(len(self._streams) - 1, piece.text),
            append=bool(texts),
            last_chunk=piece.done,
        )
        if piece.meta:
            event.metadata.CopyFrom(data_part(dict(piece.meta)).data.struct_value)
        texts.append(piece.text)
        self._open = not piece.done
        return event

    def _streamed(self, number: int, text: str) -> Artifact:
        name = _STREAM if number == 0 else f"{_STREAM}-{number + 1}"
        return Artifact(artifact_id=name, name=name, parts=[Part(text=text)])

    # Status

    def _move(
        self, state: RemoteTaskState, at: float, message: Message | None = None
    ) -> TaskStatusUpdateEvent:
        self._state = state
        self._status = self._status_of(state, at, message)
        return TaskStatusUpdateEvent(
            task_id=self._task_id, context_id=self._context_id, status=self._status
        )

    def _status_of(
        self, state: RemoteTaskState, at: float, message: Message | None = None
    ) -> TaskStatus:
        status = TaskStatus(state=STATES[state])
        if at:
            status.timestamp.FromMilliseconds(math.floor(at * 1000))
        else:
            status.timestamp.CopyFrom(self._status.timestamp)
        if message is not None:
            status.message.CopyFrom(message)
        return status

    def _said(self, value: Any) -> Message:
        if isinstance(value, Message):
            message = Message()
            message.CopyFrom(value)
        else:
            message = Message(parts=parts_of(value) or parts_of(""))
        message.role = Role.ROLE_AGENT
        number = f"{self._task_id}/{len(self._history)}/{self._state.value}"
        message.message_id = message.message_id or uuid.uuid5(uuid.NAMESPACE_URL, number).hex
        message.task_id, message.context_id = self._task_id, self._context_id
        return message

    def _heard(self, content: bytes) -> Message:
        message = SendMessageRequest.FromString(content).message
        message.task_id, message.context_id = self._task_id, self._context_id
        return message
