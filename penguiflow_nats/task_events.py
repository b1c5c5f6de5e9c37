"""What happens to a task, as its subscribers are told. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.envelope import NONE
from penguiflow.remote_models import RemoteTaskEvent, RemoteTaskState, RemoteTaskStatus
from penguiflow_nats.call_wire import TaskRecord
from penguiflow_nats.reply_feed import Answered, Asked, Events, News, Started
from penguiflow_nats.task_views import TaskView


class TaskEvents:
    """Turns what a call hears into the events of its task."""

    def __init__(self, task_id: str, agent_url: str, codec: ValueCodec) -> None:
        self._task_id = task_id
        self._agent_url = agent_url
        self._codec = codec
        self._view = TaskView(codec, agent_url)

    def first(self, record: TaskRecord | None) -> RemoteTaskEvent:
        """The task as it is when somebody begins to follow it."""
        event = self._event("task")
        event.task = self._view.snapshot(self._task_id, record)
        event.status, event.result = event.task.status, event.task.result
        event.context_id, event.done = event.task.context_id, event.task.is_terminal
        return event

    def of(self, news: News) -> Iterator[RemoteTaskEvent]:
        """What happened."""
        if isinstance(news, Events):
            yield from self._texts(news)
        else:
            yield self._change(news)

    def _texts(self, events: Events) -> Iterator[RemoteTaskEvent]:
        for position, piece in enumerate(events.pieces, events.n + 1):
            event = self._event("text")
            event.text, event.done = piece.text, False
            event.meta = {"position": f"{events.epoch}.{position}"}
            if piece.meta != NONE:
                event.meta = {**self._codec.unpack(piece.meta), **event.meta}
            yield event

    def _change(self, news: Started | Asked | Answered | TaskRecord) -> RemoteTaskEvent:
        match news:
            case Started():
                event = self._event("status")
                event.status = RemoteTaskStatus(RemoteTaskState.WORKING)
                event.meta = {"epoch": news.epoch}
                if news.again:
                    event.meta = {"restart": True, "epoch": news.epoch}
            case Asked() | Answered():
                event = self._event("status")
                event.status = self._view.status(news.record)
                event.context_id = news.record.context_id
            case _:
                event = self.first(news)
        return event

    def _event(self, kind: str) -> RemoteTaskEvent:
        return RemoteTaskEvent(kind, task_id=self._task_id, agent_url=self._agent_url)


__all__ = ["TaskEvents"]
