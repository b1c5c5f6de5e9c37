"""Tasks, their updates, and the steering events sent to them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, Field

from penguiflow.clock import SYSTEM_CLOCK


def utc_now() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.fromtimestamp(SYSTEM_CLOCK.now(), UTC)


def _new_id() -> str:
    return uuid4().hex


class TaskStatus(StrEnum):
    """Where a task stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class TaskType(StrEnum):
    """Whether a session waits for the task."""

    FOREGROUND = "FOREGROUND"
    BACKGROUND = "BACKGROUND"


class UpdateType(StrEnum):
    """What an update reports."""

    THINKING = "THINKING"
    PROGRESS = "PROGRESS"
    TOOL_CALL = "TOOL_CALL"
    RESULT = "RESULT"
    ERROR = "ERROR"
    CHECKPOINT = "CHECKPOINT"
    STATUS_CHANGE = "STATUS_CHANGE"
    NOTIFICATION = "NOTIFICATION"


class SteeringEventType(StrEnum):
    """What a steering event asks of a running task."""

    INJECT_CONTEXT = "INJECT_CONTEXT"
    REDIRECT = "REDIRECT"
    CANCEL = "CANCEL"
    PRIORITIZE = "PRIORITIZE"
    PAUSE = "PAUSE"
    RESUME = "RESUME"
    APPROVE = "APPROVE"
    REJECT = "REJECT"
    USER_MESSAGE = "USER_MESSAGE"


class TaskContextSnapshot(BaseModel):
    """What a task knew when it was started."""

    session_id: str
    task_id: str
    trace_id: str | None = None
    spawned_from_task_id: str = "foreground"
    spawned_from_event_id: str | None = None
    spawned_at: datetime = Field(default_factory=utc_now)
    spawn_reason: str | None = None
    query: str | None = None
    propagate_on_cancel: str = "cascade"
    """Whether cancelling the parent task cancels this one."""
    notify_on_complete: bool = True
    context_version: int | None = None
    context_hash: str | None = None
    llm_context: dict[str, Any] = Field(default_factory=dict)
    tool_context: dict[str, Any] = Field(default_factory=dict)
    memory: dict[str, Any] = Field(default_factory=dict)
    artifacts: list[Any] = Field(default_factory=list)


@dataclass
class TaskState:
    """A task of a session. Its key is (session_id, task_id)."""

    task_id: str
    session_id: str
    status: TaskStatus
    task_type: TaskType
    priority: int
    context_snapshot: TaskContextSnapshot
    trace_id: str | None = None
    result: Any = None
    error: str | None = None
    description: str | None = None
    progress: Any = None
    created_at: datetime = field(default_factory=utc_now)
    updated_at: datetime = field(default_factory=utc_now)

    def update_status(self, status: TaskStatus) -> None:
        """Set the status, and `updated_at` with it."""
        self.status = status
        self.updated_at = utc_now()


class TaskStateModel(BaseModel):
    """A `TaskState` that can be validated and dumped."""

    task_id: str
    session_id: str
    status: TaskStatus
    task_type: TaskType
    priority: int
    context_snapshot: TaskContextSnapshot
    trace_id: str | None = None
    result: Any = None
    error: str | None = None
    description: str | None = None
    progress: Any = None
    created_at: datetime = Field(default_factory=utc_now)
    updated_at: datetime = Field(default_factory=utc_now)

    @classmethod
    def from_state(cls, state: TaskState) -> TaskStateModel:
        """The model of a state.

        Raises:
            pydantic.ValidationError: a field of the state has a wrong type.
        """
        return cls.model_validate(state, from_attributes=True)

    def to_state(self) -> TaskState:
        """The state that this model describes."""
        return TaskState(**dict(self))


class StateUpdate(BaseModel):
    """One thing that a task reports. `update_id` is its identity."""

    session_id: str
    task_id: str
    trace_id: str | None = None
    update_id: str = Field(default_factory=_new_id)
    update_type: UpdateType
    content: Any
    step_index: int | None = None
    total_steps: int | None = None
    created_at: datetime = Field(default_factory=utc_now)


class SteeringEvent(BaseModel):
    """One thing that somebody asks of a running task. `event_id` is its identity."""

    session_id: str
    task_id: str
    event_id: str = Field(default_factory=_new_id)
    event_type: SteeringEventType
    payload: dict[str, Any] = Field(default_factory=dict)
    trace_id: str | None = None
    source: str = "user"
    created_at: datetime = Field(default_factory=utc_now)

    def to_injection(self) -> str:
        """The event as a JSON text to put in front of a language model."""
        steering = {
            "event_id": self.event_id,
            "task_id": self.task_id,
            "event_type": self.event_type.value,
            "payload": self.payload,
            "created_at": self.created_at.isoformat(),
        }
        return json.dumps({"steering": steering}, ensure_ascii=False, default=str)
