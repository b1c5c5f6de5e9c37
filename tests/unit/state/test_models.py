from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from penguiflow.metrics import FlowEvent
from penguiflow.state import (
    SESSION_TRACE_PREFIX,
    RemoteBinding,
    StateUpdate,
    SteeringEvent,
    SteeringEventType,
    StoredEvent,
    TaskContextSnapshot,
    TaskState,
    TaskStateModel,
    TaskStatus,
    TaskType,
    UpdateType,
)


def flow_event(**changes: Any) -> FlowEvent:
    fields: dict[str, Any] = {
        "event_type": "node_start",
        "ts": 12.5,
        "node_name": "node",
        "node_id": "id",
        "trace_id": "trace",
        "attempt": 0,
        "latency_ms": 0.0,
        "queue_depth_in": 1,
        "queue_depth_out": 0,
        "outgoing_edges": 1,
        "queue_maxsize": 64,
        "trace_pending": 1,
        "trace_inflight": 1,
        "trace_cancelled": False,
    }
    return FlowEvent(**{**fields, **changes})


def snapshot(**changes: Any) -> TaskContextSnapshot:
    return TaskContextSnapshot(session_id="session", task_id="task", **changes)


def task(**changes: Any) -> TaskState:
    return TaskState(
        "task", "session", TaskStatus.PENDING, TaskType.BACKGROUND, 1, snapshot(), **changes
    )


def test_stored_event_takes_the_documented_fields_by_position() -> None:
    event = StoredEvent("trace", 1.0, "kind", "node", "id", {"a": 1})
    assert (event.event_id, event.seq, event.tenant) == (None, None, None)
    assert event == StoredEvent(
        trace_id="trace", ts=1.0, kind="kind", node_name="node", node_id="id", payload={"a": 1}
    )


def test_flow_event_is_stored_with_its_type_and_payload() -> None:
    event = flow_event(extra={"more": 1})
    assert StoredEvent.from_flow_event(event) == StoredEvent(
        "trace", 12.5, "node_start", "node", "id", event.to_payload()
    )


def test_identity_of_a_flow_event_is_kept() -> None:
    stored = StoredEvent.from_flow_event(flow_event(event_id="e", seq=3, tenant="t"))
    assert (stored.event_id, stored.seq, stored.tenant) == ("e", 3, "t")


def test_binding_has_the_documented_defaults() -> None:
    binding = RemoteBinding("trace", "context", "task", "url")
    assert [field.name for field in dataclasses.fields(binding)] == [
        "trace_id",
        "context_id",
        "task_id",
        "agent_url",
        "router_session_id",
        "remote_skill",
        "tenant_id",
        "user_id",
        "last_remote_task_id",
        "is_terminal",
        "metadata",
    ]
    assert (binding.router_session_id, binding.is_terminal, binding.metadata) == (None, False, {})


def test_dataclasses_and_models_are_what_they_are_documented_as() -> None:
    assert all(map(dataclasses.is_dataclass, (StoredEvent, RemoteBinding, TaskState)))
    for model in (TaskStateModel, StateUpdate, TaskContextSnapshot, SteeringEvent):
        assert issubclass(model, BaseModel)


def test_task_has_the_documented_defaults() -> None:
    state = task()
    assert (state.trace_id, state.result, state.error, state.description, state.progress) == (
        (None,) * 5
    )
    assert state.created_at.tzinfo is UTC
    assert state.updated_at.tzinfo is UTC


def test_status_change_moves_the_time_of_the_last_update() -> None:
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    state = task(created_at=long_ago, updated_at=long_ago)
    state.update_status(TaskStatus.RUNNING)
    assert state.status is TaskStatus.RUNNING
    assert state.created_at == long_ago
    assert state.updated_at > long_ago


def test_task_model_has_the_same_fields_as_the_task() -> None:
    names = [field.name for field in dataclasses.fields(TaskState)]
    assert list(TaskStateModel.model_fields) == names


def test_task_survives_its_model_and_json() -> None:
    state = task(result={"a": [1]}, progress={"done": 0.5}, error="e", trace_id="trace")
    text = TaskStateModel.from_state(state).model_dump_json()
    assert TaskStateModel.model_validate_json(text).to_state() == state


def test_task_model_refuses_a_wrong_type() -> None:
    state = task()
    state.priority = "high"  # type: ignore[assignment]
    with pytest.raises(ValidationError):
        TaskStateModel.from_state(state)


def test_update_has_an_id_of_its_own_and_a_time() -> None:
    one, other = (
        StateUpdate(session_id="s", task_id="t", update_type=UpdateType.RESULT, content=1)
        for _ in range(2)
    )
    assert one.update_id != other.update_id
    assert len(bytes.fromhex(one.update_id)) == 16
    assert (one.trace_id, one.step_index, one.total_steps) == (None, None, None)
    assert one.created_at.utcoffset() == timedelta(0)


def test_snapshot_has_the_documented_defaults() -> None:
    spawned = snapshot().model_dump(exclude={"session_id", "task_id"})
    assert spawned.pop("spawned_at").utcoffset() == timedelta(0)
    assert spawned == {
        "trace_id": None,
        "spawned_from_task_id": "foreground",
        "spawned_from_event_id": None,
        "spawn_reason": None,
        "query": None,
        "propagate_on_cancel": "cascade",
        "notify_on_complete": True,
        "context_version": None,
        "context_hash": None,
        "llm_context": {},
        "tool_context": {},
        "memory": {},
        "artifacts": [],
    }


def test_steering_event_has_the_documented_defaults() -> None:
    event = SteeringEvent(session_id="s", task_id="t", event_type=SteeringEventType.PAUSE)
    assert (event.payload, event.trace_id, event.source) == ({}, None, "user")
    assert len(bytes.fromhex(event.event_id)) == 16
    assert event.created_at.utcoffset() == timedelta(0)


def test_injection_is_json_with_the_type_and_the_payload() -> None:
    event = SteeringEvent(
        session_id="s",
        task_id="t",
        event_type=SteeringEventType.USER_MESSAGE,
        payload={"text": "käse", "odd": {1}},
    )
    steering = json.loads(event.to_injection())["steering"]
    assert steering["event_type"] == "USER_MESSAGE"
    assert steering["payload"] == {"text": "käse", "odd": "{1}"}
    assert steering["event_id"] == event.event_id


@pytest.mark.parametrize(
    ("enum", "names"),
    [
        (TaskStatus, "PENDING RUNNING PAUSED COMPLETE FAILED CANCELLED"),
        (TaskType, "FOREGROUND BACKGROUND"),
        (
            UpdateType,
            "THINKING PROGRESS TOOL_CALL RESULT ERROR CHECKPOINT STATUS_CHANGE NOTIFICATION",
        ),
        (
            SteeringEventType,
            "INJECT_CONTEXT REDIRECT CANCEL PRIORITIZE PAUSE RESUME APPROVE REJECT USER_MESSAGE",
        ),
    ],
)
def test_enum_values_are_their_names(enum: type[Enum], names: str) -> None:
    assert [member.name for member in enum] == names.split()
    assert [member.value for member in enum] == names.split()


def test_session_prefix_is_the_documented_one() -> None:
    assert SESSION_TRACE_PREFIX == "session:"
