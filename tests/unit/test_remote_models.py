from __future__ import annotations

import dataclasses
import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest

from penguiflow import remote
from penguiflow.remote import (
    REMOTE_TERMINAL_TASK_STATES,
    RemoteCallRequest,
    RemoteCallResult,
    RemotePushNotificationBinding,
    RemoteStreamEvent,
    RemoteTaskAuthRequired,
    RemoteTaskEvent,
    RemoteTaskInputRequired,
    RemoteTaskPage,
    RemoteTaskSnapshot,
    RemoteTaskState,
    RemoteTaskStatus,
    RemoteTransport,
    SupportsRemoteTasks,
)
from penguiflow.types import Headers, Message

NONE = None

FIELDS: dict[type[Any], dict[str, Any]] = {
    RemoteCallRequest: {
        "message": ...,
        "skill": ...,
        "agent_url": ...,
        "agent_card": NONE,
        "metadata": NONE,
        "timeout_s": NONE,
        "context_id": NONE,
        "task_id": NONE,
        "trace_id": NONE,
        "tenant": NONE,
        "deadline_s": NONE,
        "idempotency_key": NONE,
        "traceparent": NONE,
        "tracestate": NONE,
    },
    RemoteCallResult: {
        "result": ...,
        "context_id": NONE,
        "task_id": NONE,
        "agent_url": NONE,
        "meta": NONE,
    },
    RemoteStreamEvent: {
        "text": NONE,
        "done": False,
        "meta": NONE,
        "context_id": NONE,
        "task_id": NONE,
        "agent_url": NONE,
        "result": NONE,
    },
    RemoteTaskStatus: {"state": ..., "message": NONE, "timestamp": NONE, "raw": NONE},
    RemoteTaskSnapshot: {
        "task_id": ...,
        "context_id": ...,
        "status": ...,
        "result": NONE,
        "artifacts": NONE,
        "history": NONE,
        "agent_url": NONE,
        "meta": NONE,
    },
    RemoteTaskEvent: {
        "kind": ...,
        "task": NONE,
        "status": NONE,
        "text": NONE,
        "result": NONE,
        "artifact": NONE,
        "done": False,
        "context_id": NONE,
        "task_id": NONE,
        "agent_url": NONE,
        "meta": NONE,
        "raw": NONE,
    },
    RemoteTaskPage: {"tasks": ..., "next_page_token": "", "page_size": 0, "total_size": 0},
    RemotePushNotificationBinding: {"name": ..., "config": ...},
}


def snapshot(state: RemoteTaskState) -> RemoteTaskSnapshot:
    return RemoteTaskSnapshot("task", "context", RemoteTaskStatus(state))


@pytest.mark.parametrize("model", FIELDS)
def test_dataclass_has_the_documented_fields_and_defaults(model: type[Any]) -> None:
    fields = {
        field.name: ... if field.default is dataclasses.MISSING else field.default
        for field in dataclasses.fields(model)
    }
    assert fields == FIELDS[model]
    assert list(fields) == list(FIELDS[model])


def test_added_request_fields_come_last() -> None:
    message = Message(payload=1, headers=Headers(tenant="t"))
    request = RemoteCallRequest(message, "skill", "url", {}, {}, 1.0, "context", "task")
    assert (request.context_id, request.task_id, request.trace_id) == ("context", "task", None)


def test_states_are_strings_with_the_documented_values() -> None:
    assert {state.name: state.value for state in RemoteTaskState} == {
        "UNSPECIFIED": "unspecified",
        "SUBMITTED": "submitted",
        "WORKING": "working",
        "COMPLETED": "completed",
        "FAILED": "failed",
        "CANCELLED": "cancelled",
        "INPUT_REQUIRED": "input-required",
        "AUTH_REQUIRED": "auth-required",
        "REJECTED": "rejected",
    }
    assert all(isinstance(state, str) for state in RemoteTaskState)


def test_four_states_are_terminal() -> None:
    names = {state.value for state in REMOTE_TERMINAL_TASK_STATES}
    assert names == {"completed", "failed", "cancelled", "rejected"}


@pytest.mark.parametrize("state", RemoteTaskState)
def test_snapshot_is_terminal_when_its_state_is(state: RemoteTaskState) -> None:
    assert snapshot(state).is_terminal is (state in REMOTE_TERMINAL_TASK_STATES)


@pytest.mark.parametrize("kind", [RemoteTaskInputRequired, RemoteTaskAuthRequired])
def test_exception_carries_the_snapshot(kind: Any) -> None:
    waiting = snapshot(RemoteTaskState.INPUT_REQUIRED)
    error = kind(waiting)
    assert isinstance(error, RuntimeError)
    assert error.snapshot is waiting
    assert "task" in str(error)


def test_transport_can_be_subclassed_without_calling_super() -> None:
    class Transport(RemoteTransport):
        def __init__(self) -> None:
            self.calls = 0

    assert Transport().calls == 0


async def test_stream_may_be_an_async_generator() -> None:
    class Transport(RemoteTransport):
        async def stream(self, request: RemoteCallRequest) -> AsyncIterator[RemoteStreamEvent]:
            yield RemoteStreamEvent(request.skill, done=True)

    request = RemoteCallRequest(Message(payload=1, headers=Headers(tenant="t")), "skill", "url")
    events = [event async for event in Transport().stream(request)]
    assert events == [RemoteStreamEvent("skill", done=True)]


def test_task_methods_are_found_by_duck_typing() -> None:
    names = [name for name in dir(SupportsRemoteTasks) if not name.startswith("_")]
    duck = type("Duck", (), dict.fromkeys(names, lambda self: None))()
    assert isinstance(duck, SupportsRemoteTasks)
    assert not isinstance(type("Less", (), {"send_task": None})(), SupportsRemoteTasks)


TASK = {"agent_url": ..., "task_id": ...}
SIGNATURES: dict[str, dict[str, Any]] = {
    "send_task": {"blocking": False},
    "get_task": {**TASK, "history_length": None},
    "list_tasks": {
        "agent_url": ...,
        "context_id": None,
        "status": None,
        "page_size": 100,
        "page_token": None,
        "history_length": None,
        "include_artifacts": False,
    },
    "subscribe_task": TASK,
    "set_task_push_notification_config": {**TASK, "config_id": ..., "config": ...},
    "get_task_push_notification_config": {**TASK, "config_id": ...},
    "delete_task_push_notification_config": {**TASK, "config_id": ...},
    "list_task_push_notification_configs": {**TASK, "page_size": 100, "page_token": None},
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_task_method_takes_keywords_only(name: str) -> None:
    parameters = inspect.signature(getattr(SupportsRemoteTasks, name)).parameters.values()
    keywords = {
        each.name: ... if each.default is inspect.Parameter.empty else each.default
        for each in parameters
        if each.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert keywords == SIGNATURES[name]
    positional = [each.name for each in parameters if each.name not in keywords]
    assert positional == (["self", "request"] if name == "send_task" else ["self"])


def test_cancel_takes_keywords_only() -> None:
    parameters = inspect.signature(RemoteTransport.cancel).parameters
    kinds = {name: parameters[name].kind for name in ("agent_url", "task_id")}
    assert set(kinds.values()) == {inspect.Parameter.KEYWORD_ONLY}


def test_every_name_is_exported() -> None:
    documented = {model.__name__ for model in FIELDS} | {
        "REMOTE_TERMINAL_TASK_STATES",
        "RemoteTaskAuthRequired",
        "RemoteTaskInputRequired",
        "RemoteTaskState",
        "RemoteTransport",
        "SupportsRemoteTasks",
    }
    assert documented <= set(remote.__all__)
