"""The values of remote calls and remote tasks; `penguiflow.remote` is their public address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from penguiflow.errors import NotRetryable
from penguiflow.types import Message


class RemoteTaskState(StrEnum):
    """Where a remote task stands."""

    UNSPECIFIED = "unspecified"
    SUBMITTED = "submitted"
    WORKING = "working"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INPUT_REQUIRED = "input-required"
    AUTH_REQUIRED = "auth-required"
    REJECTED = "rejected"


REMOTE_TERMINAL_TASK_STATES: frozenset[RemoteTaskState] = frozenset(
    {
        RemoteTaskState.COMPLETED,
        RemoteTaskState.FAILED,
        RemoteTaskState.CANCELLED,
        RemoteTaskState.REJECTED,
    }
)
"""The states that a task never leaves."""


@dataclass
class RemoteCallRequest:
    """One call of a remote agent's skill."""

    message: Message
    skill: str
    agent_url: str
    agent_card: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    timeout_s: float | None = None
    context_id: str | None = None
    task_id: str | None = None
    trace_id: str | None = None
    """The caller's trace, so that both sides of the call meet in one trace."""
    tenant: str | None = None
    deadline_s: float | None = None
    """Absolute Unix time after which nobody waits for the answer."""
    idempotency_key: str | None = None
    """Equal for every try of the same call; a transport starts one remote task per key."""
    traceparent: str | None = None
    """The W3C trace context of the caller's span."""
    tracestate: str | None = None


@dataclass
class RemoteCallResult:
    """The answer to a unary call."""

    result: Any
    context_id: str | None = None
    task_id: str | None = None
    agent_url: str | None = None
    meta: Mapping[str, Any] | None = None


@dataclass
class RemoteStreamEvent:
    """One piece of a streamed answer: a text, a result, or news of the task's ids."""

    text: str | None = None
    done: bool = False
    meta: Mapping[str, Any] | None = None
    context_id: str | None = None
    task_id: str | None = None
    agent_url: str | None = None
    result: Any = None


@dataclass
class RemoteTaskStatus:
    """The state of a remote task and what its agent says about it."""

    state: RemoteTaskState
    message: Any = None
    timestamp: Any = None
    raw: Any = None
    """The status as the wire had it."""


@dataclass
class RemoteTaskSnapshot:
    """A remote task at one moment."""

    task_id: str
    context_id: str | None
    status: RemoteTaskStatus
    result: Any = None
    artifacts: Sequence[Any] | None = None
    history: Sequence[Any] | None = None
    agent_url: str | None = None
    meta: Mapping[str, Any] | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the task has ended for good."""
        return self.status.state in REMOTE_TERMINAL_TASK_STATES


@dataclass
class RemoteTaskEvent:
    """Something that happened to a remote task."""

    kind: str
    task: RemoteTaskSnapshot | None = None
    status: RemoteTaskStatus | None = None
    text: str | None = None
    result: Any = None
    artifact: Any = None
    done: bool = False
    context_id: str | None = None
    task_id: str | None = None
    agent_url: str | None = None
    meta: Mapping[str, Any] | None = None
    raw: Any = None
    """The event as the wire had it."""


@dataclass
class RemoteTaskPage:
    """Some of the tasks that match a query; an empty `next_page_token` marks the last page."""

    tasks: list[RemoteTaskSnapshot]
    next_page_token: str = ""
    page_size: int = 0
    total_size: int = 0


@dataclass
class RemotePushNotificationBinding:
    """Where an agent reports to when a task changes."""

    name: str
    config: Mapping[str, Any]


class RemoteTaskInputRequired(NotRetryable, RuntimeError):
    """The remote task waits for input; resume it with `snapshot.task_id`."""

    def __init__(self, snapshot: RemoteTaskSnapshot) -> None:
        super().__init__(f"Remote task {snapshot.task_id} requires input")
        self.snapshot = snapshot


class RemoteTaskAuthRequired(NotRetryable, RuntimeError):
    """The remote task waits for credentials; resume it with `snapshot.task_id`."""

    def __init__(self, snapshot: RemoteTaskSnapshot) -> None:
        super().__init__(f"Remote task {snapshot.task_id} requires authentication")
        self.snapshot = snapshot
