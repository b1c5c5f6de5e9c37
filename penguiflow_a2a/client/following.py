"""A remote task as it is heard: a fold over snapshots and updates. Pure.

After a break the task is subscribed to again, and the first thing heard is the task as it is then:
of each artifact only the text that has not come before is told, so that nothing comes twice and
nothing is lost. Text that was replaced meanwhile is void: that is told as a `Restarted`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from a2a.types.a2a_pb2 import (
    Artifact,
    Message,
    Part,
    StreamResponse,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
)
from google.protobuf.json_format import MessageToDict

from penguiflow_a2a.client.errors import AnswerTooLarge
from penguiflow_a2a.outcome import RESULT

TERMINAL = frozenset(
    {
        TaskState.TASK_STATE_COMPLETED,
        TaskState.TASK_STATE_FAILED,
        TaskState.TASK_STATE_CANCELED,
        TaskState.TASK_STATE_REJECTED,
    }
)
WAITING = frozenset({TaskState.TASK_STATE_INPUT_REQUIRED, TaskState.TASK_STATE_AUTH_REQUIRED})


@dataclass(frozen=True, slots=True)
class Named:
    """The task, as it was when it was first heard of."""

    task: Task


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text of an artifact."""

    artifact: str
    text: str
    done: bool = False
    meta: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Restarted:
    """What came of an artifact is void: the agent begins it anew."""

    artifact: str


@dataclass(frozen=True, slots=True)
class Whole:
    """An artifact that comes whole, such as the result, or parts that are no text."""

    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Moved:
    """The state is another, or the agent says something."""

    status: TaskStatus


@dataclass(frozen=True, slots=True)
class Replied:
    """The agent answered by a bare message; there is no task."""

    message: Message


Heard: TypeAlias = Named | Text | Restarted | Whole | Moved | Replied


class _Received:
    """What has come of one artifact."""

    def __init__(self, artifact: Artifact) -> None:
        self.about = Artifact()
        self.about.CopyFrom(artifact)
        self.about.ClearField("parts")
        self.pieces: list[str | Part] = []

    @property
    def text(self) -> str:
        return "".join(each for each in self.pieces if isinstance(each, str))

    def whole(self) -> Artifact:
        artifact = Artifact()
        artifact.CopyFrom(self.about)
        texts: list[str] = []
        for piece in [*self.pieces, None]:
            if isinstance(piece, str):
                texts.append(piece)
                continue
            if texts:
                artifact.parts.append(Part(text="".join(texts)))
                texts = []
            if piece is not None:
                artifact.parts.append(piece)
        return artifact


class Following:
    """One task as it is heard.

    Args:
        max_bytes: How much of its artifacts is kept; beyond it `take` raises `AnswerTooLarge`.
        known: Whether what the first snapshot holds was told before, as when a question of the
            task is answered: then it is not told again.
    """

    def __init__(self, *, max_bytes: int = 64 * 1024 * 1024, known: bool = False) -> None:
        self.task_id = ""
        self.context_id = ""
        self.status = TaskStatus()
        self.message: Message | None = None
        """The bare message that was the answer."""
        self.restarts = 0
        self._known = known
        self._left = max_bytes
        self._history: list[Message] = []
        self._artifacts: dict[str, _Received] = {}

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.message is not None or self.status.state in TERMINAL

    @property
    def is_settled(self) -> bool:
        """Whether it is over, or waits for its caller."""
        return self.is_over or self.status.state in WAITING

    def task(self) -> Task:
        """The task, as far as it was heard."""
        task = Task(id=self.task_id, context_id=self.context_id, status=self.status)
        task.artifacts.extend(each.whole() for each in self._artifacts.values())
        task.history.extend(self._history)
        return task

    def take(self, event: StreamResponse) -> Iterator[Heard]:
        """Fold what comes; gives what is new in it. To be exhausted."""
        match event.WhichOneof("payload"):
            case "task":
                yield from self.look(event.task)
            case "message":
                self.message = event.message
                self.context_id = event.message.context_id
                yield Replied(event.message)
            case "status_update":
                self._name(event.status_update.task_id, event.status_update.context_id)
                yield from self._move(event.status_update.status)
            case "artifact_update":
                self._name(event.artifact_update.task_id, event.artifact_update.context_id)
                yield from self._update(event.artifact_update)
            case _:
                pass  # something newer than this version of the protocol

    def look(self, task: Task) -> Iterator[Heard]:
        """Fold the task as it is; gives what is new in it. To be exhausted."""
        first = not self.task_id
        self._name(task.id, task.context_id)
        self._history = list(task.history)
        if first:
            self.status = task.status
            yield Named(task)
        news = list(self._compare(task))  # folds
        if not (first and self._known):
            yield from news
        yield from self._move(task.status)

    def _compare(self, task: Task) -> Iterator[Heard]:
        there = {each.artifact_id: each for each in task.artifacts}
        for name, received in list(self._artifacts.items()):
            if name not in there and received.pieces:
                del self._artifacts[name]
                yield from self._void(name)
        for name, artifact in there.items():
            known = self._artifacts.get(name)
            if known is None:
                yield from self._new(artifact, whole=name == RESULT)
                continue
            text, had = _text_of(artifact), known.text
            others = sum(not isinstance(each, str) for each in known.pieces)
            if not text.startswith(had) or others > len(artifact.parts):
                self._artifacts[name] = _Received(artifact)
                yield from self._void(name)
                yield from self._new(artifact, whole=False)
                continue
            self._artifacts[name] = fresh = _Received(artifact)
            self._keep(fresh, artifact, free=len(had))
            if len(text) > len(had):
                yield Text(name, text[len(had) :])

    def _update(self, update: TaskArtifactUpdateEvent) -> Iterator[Heard]:
        artifact, name = update.artifact, update.artifact.artifact_id
        known = self._artifacts.get(name)
        meta = MessageToDict(update.metadata) if update.HasField("metadata") else None
        if not update.append and known is not None:
            del self._artifacts[name]
            if any(known.pieces):
                yield from self._void(name)
                meta = None if meta == {"restarted": True} else meta
        whole = name == RESULT and not update.append and update.last_chunk
        yield from self._new(artifact, whole=whole, done=update.last_chunk, meta=meta)

    def _new(
        self,
        artifact: Artifact,
        *,
        whole: bool,
        done: bool = False,
        meta: Mapping[str, Any] | None = None,
    ) -> Iterator[Heard]:
        name = artifact.artifact_id
        received = self._artifacts.get(name)
        if received is None:
            received = self._artifacts[name] = _Received(artifact)
        self._keep(received, artifact)
        text = _text_of(artifact)
        if whole or any(each.WhichOneof("content") != "text" for each in artifact.parts):
            yield Whole(artifact)
            if whole:
                return
        if text or done:
            yield Text(name, text, done, meta)

    def _keep(self, received: _Received, artifact: Artifact, *, free: int = 0) -> None:
        self._left -= max(0, artifact.ByteSize() - free)
        if self._left < 0:
            msg = "the agent answers more than is taken; raise max_bytes if that is right"
            raise AnswerTooLarge(msg)
        for part in artifact.parts:
            received.pieces.append(part.text if part.WhichOneof("content") == "text" else part)

    def _void(self, name: str) -> Iterator[Heard]:
        self.restarts += 1
        yield Restarted(name)

    def _move(self, status: TaskStatus) -> Iterator[Heard]:
        if status != self.status:
            self.status = status
            yield Moved(status)

    def _name(self, task_id: str, context_id: str) -> None:
        self.task_id = self.task_id or task_id
        self.context_id = self.context_id or context_id


def _text_of(artifact: Artifact) -> str:
    return "".join(each.text for each in artifact.parts if each.WhichOneof("content") == "text")


__all__ = [
    "TERMINAL",
    "WAITING",
    "Following",
    "Heard",
    "Moved",
    "Named",
    "Replied",
    "Restarted",
    "Text",
    "Whole",
]
