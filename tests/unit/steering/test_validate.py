from __future__ import annotations

from typing import Any

import pytest

from penguiflow.state import SteeringEvent, SteeringEventType
from penguiflow.steering import SteeringValidationError, validate_steering_event


def event(kind: str, **payload: Any) -> SteeringEvent:
    return SteeringEvent(
        session_id="s", task_id="t", event_type=SteeringEventType(kind), payload=payload
    )


def errors_of(kind: str, **payload: Any) -> list[str]:
    with pytest.raises(SteeringValidationError) as caught:
        validate_steering_event(event(kind, **payload))
    return caught.value.errors


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("INJECT_CONTEXT", {"text": "x"}),
        ("USER_MESSAGE", {"text": "x"}),
        ("REDIRECT", {"instruction": "x"}),
        ("REDIRECT", {"goal": "x"}),
        ("REDIRECT", {"query": "x"}),
        ("PRIORITIZE", {"priority": 0}),
        ("APPROVE", {"resume_token": "x"}),
        ("APPROVE", {"patch_id": "x"}),
        ("REJECT", {"event_id": "x"}),
        ("CANCEL", {}),
        ("PAUSE", {}),
        ("RESUME", {}),
    ],
)
def test_event_with_what_it_needs_is_valid(kind: str, payload: dict[str, Any]) -> None:
    validate_steering_event(event(kind, **payload))


@pytest.mark.parametrize(
    ("kind", "payload", "named"),
    [
        ("INJECT_CONTEXT", {}, "'text'"),
        ("USER_MESSAGE", {"text": "  "}, "'text'"),
        ("USER_MESSAGE", {"text": 5}, "'text'"),
        ("REDIRECT", {"text": "x"}, "'instruction' (or 'goal'/'query')"),
        ("REDIRECT", {"goal": ""}, "'goal'"),
        ("PRIORITIZE", {}, "'priority'"),
        ("PRIORITIZE", {"priority": "1"}, "'priority'"),
        ("PRIORITIZE", {"priority": True}, "'priority'"),
        ("APPROVE", {}, "'resume_token' (or 'patch_id'/'event_id')"),
        ("REJECT", {"resume_token": None}, "'resume_token'"),
    ],
)
def test_event_without_what_it_needs_is_not(kind: str, payload: dict[str, Any], named: str) -> None:
    (error,) = errors_of(kind, **payload)
    assert kind in error
    assert named in error


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("scope", ["foreground", "task_only"], ["all", 1]),
        ("severity", ["note", "correction"], ["fatal"]),
        ("constraints", [{"a": 1}], [["a"], "a"]),
        ("reason", ["because"], [1]),
        ("decision", ["yes"], [True]),
        ("hard", [True, False], ["yes", 1]),
        ("active_tasks", [["a"], []], ["a", {"a": 1}]),
    ],
)
def test_optional_parts_must_be_well_formed(name: str, good: list[Any], bad: list[Any]) -> None:
    for value in [*good, None]:
        validate_steering_event(event("CANCEL", **{name: value}))
    for value in bad:
        (error,) = errors_of("CANCEL", **{name: value})
        assert f"'{name}'" in error


def test_everything_wrong_is_named_at_once() -> None:
    errors = errors_of("REDIRECT", scope="all", hard=1)
    assert len(errors) == 3


def test_error_is_a_value_error_with_all_in_its_text() -> None:
    error = SteeringValidationError(["first", "second"])
    assert isinstance(error, ValueError)
    assert str(error) == "Invalid steering payload: first; second"
    assert error.errors == ["first", "second"]
