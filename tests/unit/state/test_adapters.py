from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from penguiflow.artifacts import InMemoryArtifactStore
from penguiflow.state import InMemoryStateStore, RemoteBinding, adapters
from penguiflow.testing.session_contract import steering, task, update


class Recorder:
    """Has exactly the methods named, and remembers the calls."""

    def __init__(self, *names: str) -> None:
        self.calls: list[Any] = []
        for name in names:
            setattr(self, name, self._method(name))

    def _method(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def method(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args, kwargs))
            return [name]

        return method


SELECTION = {"task_id": "t", "since_id": "i", "limit": 3}
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("save_task", (1,), {}),
    ("list_tasks", ("session",), {}),
    ("save_update", (1,), {}),
    ("list_updates", ("session",), SELECTION),
    ("save_steering", (1,), {}),
    ("list_steering", ("session",), SELECTION),
    ("save_planner_event", ("trace", 1), {}),
    ("list_planner_events", ("trace",), {}),
]
ALIASES = {
    "save_update": "save_task_update",
    "list_updates": "list_task_updates",
    "list_planner_events": "get_events",
}


async def call(store: Any, name: str, args: Any, kwargs: Any) -> Any:
    return await getattr(adapters, f"{name}_compat")(store, *args, **kwargs)


@pytest.mark.parametrize(("name", "args", "kwargs"), CALLS)
async def test_method_is_called_by_its_new_name(name: str, args: Any, kwargs: Any) -> None:
    store = Recorder(name, *ALIASES.values())
    await call(store, name, args, kwargs)
    assert store.calls == [(name, args, kwargs)]


@pytest.mark.parametrize(("name", "args", "kwargs"), CALLS)
async def test_method_that_is_missing_is_a_type_error(name: str, args: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError, match=rf"StateStore missing {name}\b"):
        await call(Recorder(), name, args, kwargs)


@pytest.mark.parametrize(("name", "args", "kwargs"), [each for each in CALLS if each[0] in ALIASES])
async def test_method_is_called_by_its_former_name(name: str, args: Any, kwargs: Any) -> None:
    store = Recorder(ALIASES[name])
    await call(store, name, args, kwargs)
    assert store.calls == [(ALIASES[name], args, kwargs)]


async def test_lists_give_what_the_store_gives() -> None:
    assert await adapters.list_tasks_compat(Recorder("list_tasks"), "s") == ["list_tasks"]
    store = Recorder("list_updates")
    assert await adapters.list_updates_compat(store, "s") == ["list_updates"]
    assert store.calls[0][2] == {"task_id": None, "since_id": None, "limit": 500}


async def test_adapters_work_with_the_store_in_memory() -> None:
    store = InMemoryStateStore()
    state, news, event = task("s"), update("s"), steering("s")
    await adapters.save_task_compat(store, state)
    await adapters.save_update_compat(store, news)
    await adapters.save_steering_compat(store, event)
    await adapters.save_planner_event_compat(store, "trace", {"a": 1})
    assert await adapters.list_tasks_compat(store, "s") == [state]
    assert await adapters.list_updates_compat(store, "s") == [news]
    assert await adapters.list_steering_compat(store, "s") == [event]
    assert await adapters.list_planner_events_compat(store, "trace") == [{"a": 1}]


async def test_binding_is_saved_if_the_store_can() -> None:
    binding = RemoteBinding("trace", "context", "task", "url")
    store = Recorder("save_remote_binding")
    await adapters.maybe_save_remote_binding(store, binding)
    assert store.calls == [("save_remote_binding", (binding,), {})]
    await adapters.maybe_save_remote_binding(Recorder(), binding)
    await adapters.maybe_save_remote_binding(None, binding)


def test_artifact_store_of_a_state_store_is_found() -> None:
    store = InMemoryStateStore()
    assert adapters.get_artifact_store(store) is store.artifact_store
    artifacts = InMemoryArtifactStore()
    assert adapters.get_artifact_store(artifacts) is artifacts
    assert adapters.get_artifact_store(Recorder()) is None
    assert adapters.get_artifact_store(None) is None
