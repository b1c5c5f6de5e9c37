from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import penguiflow.state as state
from penguiflow.state import protocols
from penguiflow.state.in_memory import InMemoryStateStore

PROTOCOLS = [getattr(protocols, name) for name in protocols.__all__]
METHODS = {
    "StateStore": "save_event load_history save_remote_binding",
    "SupportsPlannerState": "save_planner_state load_planner_state",
    "SupportsMemoryState": "save_memory_state load_memory_state",
    "SupportsTasks": "save_task list_tasks save_update list_updates",
    "SupportsSteering": "save_steering list_steering",
    "SupportsTrajectories": "save_trajectory get_trajectory list_traces",
    "SupportsPlannerEvents": "save_planner_event list_planner_events",
    "SupportsArtifacts": "artifact_store",
    "SupportsConversationBindings": "find_binding list_bindings mark_binding_terminal",
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_protocol_can_be_subclassed_without_calling_super(protocol: type[Any]) -> None:
    class Store(protocol):  # type: ignore[misc]
        def __init__(self, number: int) -> None:
            self.number = number

    assert Store(3).number == 3
    assert isinstance(Store(3), protocol)


# A store in memory goes with its process: it removes nothing by age.
RETENTION = (protocols.SupportsSweep, protocols.SupportsTraceEnds)


@pytest.mark.parametrize("protocol", [each for each in PROTOCOLS if each not in RETENTION])
def test_store_in_memory_has_every_capability(protocol: type[Any]) -> None:
    assert isinstance(InMemoryStateStore(), protocol)


@pytest.mark.parametrize("name", METHODS)
def test_capability_is_found_by_its_documented_methods(name: str) -> None:
    methods = METHODS[name].split()
    duck = type("Duck", (), dict.fromkeys(methods, lambda self: None))()
    assert isinstance(duck, getattr(protocols, name))
    less = type("Less", (), dict.fromkeys(methods[1:], lambda self: None))()
    assert not isinstance(less, getattr(protocols, name))


def test_store_in_memory_is_loaded_when_it_is_asked_for() -> None:
    script = (
        "import sys, penguiflow.state as state\n"
        "assert 'penguiflow.state.in_memory' not in sys.modules\n"
        "from penguiflow.state.in_memory import InMemoryStateStore, PlaygroundArtifactStore\n"
        "assert state.InMemoryStateStore is InMemoryStateStore\n"
        "assert state.PlaygroundArtifactStore is PlaygroundArtifactStore\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'penguiflow\.state' has no attribute 'Nothing'"):
        state.Nothing  # noqa: B018


@pytest.mark.parametrize("module", ["steering.steering", "sessions.persistence", "artifacts"])
def test_module_can_be_the_first_one_imported(module: str) -> None:
    subprocess.run([sys.executable, "-c", f"import penguiflow.{module}"], check=True)
