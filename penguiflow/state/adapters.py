"""Calls to stores that may lack a method, or have it under its former name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from penguiflow.artifacts.discovery import discover_artifact_store
from penguiflow.artifacts.protocol import ArtifactStore
from penguiflow.state.capabilities import missing_capabilities
from penguiflow.state.records import RemoteBinding
from penguiflow.state.tasks import StateUpdate, SteeringEvent, TaskState


def get_artifact_store(store: object) -> ArtifactStore | None:
    """The artifact store of a state store, or None."""
    return discover_artifact_store(store)


async def maybe_save_remote_binding(store: object, binding: RemoteBinding) -> None:
    """Save the binding, if there is a store that can."""
    if not missing_capabilities(store, ["save_remote_binding"]):
        await _method(store, "remote bindings", "save_remote_binding")(binding)


async def save_task_compat(store: object, state: TaskState) -> None:
    """Save a task. Raises `TypeError` when the store cannot."""
    await _method(store, "tasks", "save_task")(state)


async def list_tasks_compat(store: object, session_id: str) -> Sequence[TaskState]:
    """The tasks of a session. Raises `TypeError` when the store cannot."""
    tasks: Sequence[TaskState] = await _method(store, "tasks", "list_tasks")(session_id)
    return tasks


async def save_update_compat(store: object, update: StateUpdate) -> None:
    """Save an update. Raises `TypeError` when the store cannot."""
    await _method(store, "task updates", "save_update", "save_task_update")(update)


async def list_updates_compat(
    store: object,
    session_id: str,
    *,
    task_id: str | None = None,
    since_id: str | None = None,
    limit: int = 500,
) -> Sequence[StateUpdate]:
    """The last updates of a session. Raises `TypeError` when the store cannot."""
    method = _method(store, "task updates", "list_updates", "list_task_updates")
    updates: Sequence[StateUpdate] = await method(
        session_id, task_id=task_id, since_id=since_id, limit=limit
    )
    return updates


async def save_steering_compat(store: object, event: SteeringEvent) -> None:
    """Save a steering event. Raises `TypeError` when the store cannot."""
    await _method(store, "steering", "save_steering")(event)


async def list_steering_compat(
    store: object,
    session_id: str,
    *,
    task_id: str | None = None,
    since_id: str | None = None,
    limit: int = 500,
) -> Sequence[SteeringEvent]:
    """The last steering events of a session. Raises `TypeError` when the store cannot."""
    method = _method(store, "steering", "list_steering")
    events: Sequence[SteeringEvent] = await method(
        session_id, task_id=task_id, since_id=since_id, limit=limit
    )
    return events


async def save_planner_event_compat(store: object, trace_id: str, event: Any) -> None:
    """Save a planner event. Raises `TypeError` when the store cannot."""
    await _method(store, "planner events", "save_planner_event")(trace_id, event)


async def list_planner_events_compat(store: object, trace_id: str) -> Sequence[Any]:
    """The planner events of a trace. Raises `TypeError` when the store cannot."""
    method = _method(store, "planner events", "list_planner_events", "get_events")
    events: Sequence[Any] = await method(trace_id)
    return events


def _method(store: object, feature: str, *names: str) -> Callable[..., Awaitable[Any]]:
    # Here a store is not asked for a protocol: it may have any part of one, under an older name.
    for name in names:
        method: Callable[..., Awaitable[Any]] | None = getattr(store, name, None)
        if callable(method):
            return method
    msg = f"StateStore missing {'/'.join(names)}, which {feature} need"
    raise TypeError(msg)


__all__ = [
    "get_artifact_store",
    "list_planner_events_compat",
    "list_steering_compat",
    "list_tasks_compat",
    "list_updates_compat",
    "maybe_save_remote_binding",
    "save_planner_event_compat",
    "save_steering_compat",
    "save_task_compat",
    "save_update_compat",
]
