from __future__ import annotations

import pytest

from penguiflow.state import InMemoryStateStore, missing_capabilities, require_capabilities


class Store:
    artifact_store = None

    async def save_task(self) -> None: ...


def test_missing_methods_are_named_in_the_order_asked_for() -> None:
    assert missing_capabilities(Store(), ["b", "save_task", "a"]) == ["b", "a"]


def test_nothing_is_missing_from_the_store_in_memory() -> None:
    assert missing_capabilities(InMemoryStateStore(), ["save_event", "save_steering"]) == []


def test_everything_is_missing_without_a_store() -> None:
    assert missing_capabilities(None, ["save_event"]) == ["save_event"]


def test_attribute_that_cannot_be_called_is_missing() -> None:
    assert missing_capabilities(Store(), ["artifact_store"]) == ["artifact_store"]


def test_required_methods_that_are_there_are_fine() -> None:
    require_capabilities(Store(), feature="tasks", methods=["save_task"])


def test_required_methods_that_are_missing_are_a_type_error() -> None:
    with pytest.raises(TypeError) as caught:
        require_capabilities(Store(), feature="tasks", methods=["save_task", "list_tasks"])
    message = "StateStore missing ['list_tasks'] required for feature=tasks"
    assert str(caught.value) == message
