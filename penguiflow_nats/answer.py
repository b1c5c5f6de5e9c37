"""The answer of a task as a caller is given it: stream events, or one result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.envelope import NONE
from penguiflow.remote_models import (
    RemoteCallResult,
    RemoteStreamEvent,
    RemoteTaskAuthRequired,
    RemoteTaskInputRequired,
)
from penguiflow.remote_tasks import RemoteTaskFailed
from penguiflow_nats.call import Call, Position
from penguiflow_nats.call_wire import AUTH_REQUIRED, COMPLETED, TaskRecord
from penguiflow_nats.reply_feed import Asked, Events, News, Started
from penguiflow_nats.task_views import TaskView


@dataclass
class NatsStreamEvent(RemoteStreamEvent):
    """A stream event that knows its place.

    A replica that takes over after another one died begins anew. Then the stream has an event
    with an empty text and `meta={"restart": True, "epoch": n}`; what came before it is void.
    """

    epoch: int = 0
    """Which attempt of the agent it is of."""
    taken: int = 0
    """How many pieces of the attempt have come with it."""
    restarted: bool = False

    @property
    def position(self) -> str:
        """Where the stream goes on after this event; for `NatsTransport.resume`."""
        return f"{self.epoch}.{self.taken}"


class Answer:
    """Turns what a call hears into what its caller is given."""

    def __init__(self, call: Call, agent_url: str, codec: ValueCodec) -> None:
        self._call = call
        self._agent_url = agent_url
        self._codec = codec
        self.view = TaskView(codec, agent_url)

    def named(self) -> NatsStreamEvent:
        """The event that only names the task."""
        return self._event(self._call.position)

    def events(self, news: News) -> Iterable[NatsStreamEvent]:
        """What a stream gives of something that was heard.

        Raises:
            RemoteTaskFailed: the task ended without a result.
            RemoteTaskInputRequired, RemoteTaskAuthRequired: the task waits for its caller.
        """
        if isinstance(news, Events):
            return self._texts(news)
        if isinstance(news, TaskRecord):
            return (self._last(news),)
        if isinstance(news, Asked):
            raise self.pause(news)
        if isinstance(news, Started) and news.again:
            return (self._restart(news),)
        return ()

    def result(self, end: TaskRecord) -> RemoteCallResult:
        """The result of an end. Raises `RemoteTaskFailed` when it has none."""
        if end.state != COMPLETED:
            raise self._failure(end)
        return RemoteCallResult(
            result=self._codec.unpack(end.result),
            context_id=end.context_id,
            task_id=self._call.task_id,
            agent_url=self._agent_url,
            meta={"epoch": end.epoch, "duration": end.duration},
        )

    def pause(self, asked: Asked) -> RemoteTaskInputRequired | RemoteTaskAuthRequired:
        """What tells the caller that the task waits."""
        snapshot = self.view.snapshot(self._call.task_id, asked.record)
        if asked.record.state == AUTH_REQUIRED:
            return RemoteTaskAuthRequired(snapshot)
        return RemoteTaskInputRequired(snapshot)

    def _event(self, position: Position) -> NatsStreamEvent:
        return NatsStreamEvent(
            task_id=self._call.task_id,
            agent_url=self._agent_url,
            epoch=position.epoch,
            taken=position.taken,
        )

    def _restart(self, start: Started) -> NatsStreamEvent:
        event = self._event(Position(start.epoch, 0))
        event.text, event.restarted = "", True
        event.meta = {"restart": True, "epoch": start.epoch}
        return event

    def _texts(self, events: Events) -> Iterator[NatsStreamEvent]:
        task, agent_url, epoch = self._call.task_id, self._agent_url, events.epoch
        unpack = self._codec.unpack
        for taken, piece in enumerate(events.pieces, events.n + 1):
            # By position: this runs for every piece, and names would cost half as much again.
            yield NatsStreamEvent(
                piece.text,
                piece.done,
                None if piece.meta == NONE else unpack(piece.meta),
                None,
                task,
                agent_url,
                None,
                epoch,
                taken,
            )

    def _last(self, end: TaskRecord) -> NatsStreamEvent:
        answer = self.result(end)
        event = self._event(self._call.position)
        event.done, event.result = True, answer.result
        event.context_id, event.meta = answer.context_id, answer.meta
        return event

    def _failure(self, end: TaskRecord) -> RemoteTaskFailed:
        code, message = end.error or ("UNKNOWN", "no reason was given")
        snapshot = self.view.snapshot(self._call.task_id, end)
        text = f"agent {self._call.agent!r}: task {end.state} ({code}): {message}"
        return RemoteTaskFailed(snapshot, code=code, message=text)


__all__ = ["Answer", "NatsStreamEvent"]
