"""What each kind of steering event must carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from penguiflow.state.tasks import SteeringEvent, SteeringEventType
from penguiflow.steering.errors import SteeringValidationError

_NEEDS_ONE_OF: Mapping[SteeringEventType, tuple[str, ...]] = {
    SteeringEventType.INJECT_CONTEXT: ("text",),
    SteeringEventType.USER_MESSAGE: ("text",),
    SteeringEventType.REDIRECT: ("instruction", "goal", "query"),
    SteeringEventType.APPROVE: ("resume_token", "patch_id", "event_id"),
    SteeringEventType.REJECT: ("resume_token", "patch_id", "event_id"),
}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "scope": ("foreground", "task_only"),
    "severity": ("note", "correction"),
}
_TYPES: Mapping[str, tuple[type, str]] = {
    "constraints": (dict, "an object"),
    "reason": (str, "a string"),
    "decision": (str, "a string"),
    "hard": (bool, "a boolean"),
    "active_tasks": (list, "a list"),
}


def validate_steering_event(event: SteeringEvent) -> None:
    """Check that the event has what its type needs, and that what is optional is well formed.

    Raises:
        SteeringValidationError: something is missing or wrong; it names everything.
    """
    errors = [*_missing(event), *_malformed(event)]
    if errors:
        raise SteeringValidationError(errors)


def _missing(event: SteeringEvent) -> Iterator[str]:
    kind, payload = event.event_type, event.payload
    names = _NEEDS_ONE_OF.get(kind, ())
    if names and not any(_is_text(payload.get(name)) for name in names):
        first, *others = (f"'{name}'" for name in names)
        wanted = f"{first} (or {'/'.join(others)})" if others else first
        yield f"{kind.value} requires non-empty {wanted}"
    if kind is SteeringEventType.PRIORITIZE:
        priority = payload.get("priority")
        if not isinstance(priority, int) or isinstance(priority, bool):
            yield f"{kind.value} requires integer 'priority'"


def _malformed(event: SteeringEvent) -> Iterator[str]:
    kind, payload = event.event_type.value, event.payload
    for name, choices in _CHOICES.items():
        if payload.get(name) is not None and payload[name] not in choices:
            yield f"{kind} '{name}' must be {' or '.join(map(repr, choices))}"
    for name, (wanted, words) in _TYPES.items():
        if payload.get(name) is not None and not isinstance(payload[name], wanted):
            yield f"{kind} '{name}' must be {words}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
