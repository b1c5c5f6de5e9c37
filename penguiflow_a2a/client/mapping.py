"""A2A tasks as the values of `penguiflow.remote`. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from a2a.types.a2a_pb2 import Artifact, Message, Task, TaskState, TaskStatus
from google.protobuf.json_format import MessageToDict

from penguiflow.errors import NotRetryable
from penguiflow.remote_models import (
    RemoteStreamEvent,
    RemoteTaskAuthRequired,
    RemoteTaskEvent,
    RemoteTaskInputRequired,
    RemoteTaskSnapshot,
    RemoteTaskState,
    RemoteTaskStatus,
)
from penguiflow.remote_tasks import RemoteTaskFailed
from penguiflow_a2a.client.following import (
    Following,
    Heard,
    Moved,
    Named,
    Replied,
    Restarted,
    Text,
    Whole,
)
from penguiflow_a2a.outcome import RESULT
from penguiflow_a2a.parts import value_of
from penguiflow_a2a.picture import STATES

_STATES = {there: here for here, there in STATES.items()}
_CODE = re.compile(r"([A-Z][A-Z0-9_]{2,63}): (.*)", re.DOTALL)


class RemoteTaskRejected(NotRetryable, RemoteTaskFailed):
    """The agent rejected the task: it would again."""


@dataclass
class A2AStreamEvent(RemoteStreamEvent):
    """A stream event that knows whether the agent began anew.

    A worker that takes over after another one died begins anew. Then the stream has an event with
    an empty text and `meta={"restart": True, "epoch": n, "artifact": id}`; what came of that
    artifact before it is void.
    """

    restarted: bool = False


def state_of(status: TaskStatus) -> RemoteTaskState:
    """The state; one that is not known is unspecified."""
    return _STATES.get(status.state, RemoteTaskState.UNSPECIFIED)


def status_of(status: TaskStatus) -> RemoteTaskStatus:
    """A status; its message is the value of what the agent says."""
    return RemoteTaskStatus(
        state=state_of(status),
        message=value_of(status.message.parts) if status.HasField("message") else None,
        timestamp=status.timestamp.ToJsonString() if status.HasField("timestamp") else None,
        raw=MessageToDict(status),
    )


def result_of(task: Task) -> Any:
    """The value of a completed task: its artifact `result`; without one its only artifact, or a
    list of them all; without any what the agent says at the end; None for nothing."""
    if task.status.state != TaskState.TASK_STATE_COMPLETED:
        return None
    for artifact in reversed(task.artifacts):
        if artifact.artifact_id == RESULT:
            return value_of(artifact.parts)
    found = [value_of(each.parts) for each in task.artifacts if each.parts]
    if found:
        return found[0] if len(found) == 1 else found
    said = task.status.message.parts
    return value_of(said) if said else None


def snapshot_of(task: Task, agent_url: str) -> RemoteTaskSnapshot:
    """A task at one moment; artifacts and history are as JSON."""
    meta: dict[str, Any] = MessageToDict(task.metadata) if task.HasField("metadata") else {}
    if state_of(task.status) in (RemoteTaskState.FAILED, RemoteTaskState.REJECTED):
        meta["code"] = reason_of(task)[0]
    return RemoteTaskSnapshot(
        task_id=task.id,
        context_id=task.context_id or None,
        status=status_of(task.status),
        result=result_of(task),
        artifacts=_plain(task.artifacts),
        history=_plain(task.history),
        agent_url=agent_url,
        meta=meta,
    )


def _plain(messages: Sequence[Artifact] | Sequence[Message]) -> list[dict[str, Any]]:
    return [MessageToDict(each) for each in messages]


def reason_of(task: Task) -> tuple[str, str]:
    """Code and text of an end without a result."""
    said = value_of(task.status.message.parts) if task.status.message.parts else ""
    text = said if isinstance(said, str) else repr(said)
    match = _CODE.fullmatch(text)
    if match is not None:
        return match[1], match[2]
    return state_of(task.status).value.upper(), text or "no reason was given"


def problem_of(task: Task, agent_url: str) -> Exception | None:
    """What a task that is over or waits means for its caller; None when it has a result."""
    state = state_of(task.status)
    match state:
        case RemoteTaskState.INPUT_REQUIRED:
            return RemoteTaskInputRequired(snapshot_of(task, agent_url))
        case RemoteTaskState.AUTH_REQUIRED:
            return RemoteTaskAuthRequired(snapshot_of(task, agent_url))
        case RemoteTaskState.FAILED | RemoteTaskState.CANCELLED | RemoteTaskState.REJECTED:
            code, text = reason_of(task)
            message = f"agent {agent_url}: task {state.value} ({code}): {text}"
            kind = RemoteTaskRejected if state is RemoteTaskState.REJECTED else RemoteTaskFailed
            return kind(snapshot_of(task, agent_url), code=code, message=message)
        case _:
            return None


def stream_event(heard: Heard, following: Following, agent_url: str) -> A2AStreamEvent | None:
    """What a stream gives of something that was heard; None for nothing."""
    event = A2AStreamEvent(
        task_id=following.task_id or None,
        context_id=following.context_id or None,
        agent_url=agent_url,
    )
    match heard:
        case Named():
            return event
        case Text():
            event.text, event.done, event.meta = heard.text, heard.done, heard.meta
            return event
        case Restarted():
            event.text, event.restarted = "", True
            event.meta = _restart(heard, following)
            return event
        case _:
            return None


def _restart(heard: Restarted, following: Following) -> dict[str, Any]:
    return {"restart": True, "epoch": following.restarts + 1, "artifact": heard.artifact}


def task_event(heard: Heard, following: Following, agent_url: str) -> RemoteTaskEvent:
    """What a subscriber is told of something that was heard.

    Kinds: `task` (with `task`, first and last), `status`, `text`, `artifact` and `message`.
    """
    event = RemoteTaskEvent(
        "status",
        task_id=following.task_id or None,
        context_id=following.context_id or None,
        agent_url=agent_url,
    )
    match heard:
        case Named():
            _show(event, heard.task)
        case Text():
            event.kind, event.text, event.done, event.meta = "text", heard.text, False, heard.meta
            event.artifact = heard.artifact
        case Restarted():
            event.status = status_of(following.status)
            event.meta = _restart(heard, following)
        case Whole():
            event.kind, event.artifact = "artifact", MessageToDict(heard.artifact)
        case Moved():
            if following.is_over:
                _show(event, following.task())
            else:
                event.status = status_of(heard.status)
        case Replied():
            event.kind, event.done = "message", True
            event.result, event.raw = value_of(heard.message.parts), MessageToDict(heard.message)
    return event


def _show(event: RemoteTaskEvent, task: Task) -> None:
    event.kind = "task"
    event.task = snapshot_of(task, event.agent_url or "")
    event.status, event.result = event.task.status, event.task.result
    event.done = event.task.is_terminal


__all__ = [
    "A2AStreamEvent",
    "RemoteTaskRejected",
    "problem_of",
    "reason_of",
    "result_of",
    "snapshot_of",
    "state_of",
    "status_of",
    "stream_event",
    "task_event",
]
