from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penguiflow import steering
from penguiflow.state import SteeringEvent, SteeringEventType
from penguiflow.steering import sanitize_payload, sanitize_steering_event


def event(payload: dict[str, Any]) -> SteeringEvent:
    return SteeringEvent(
        session_id="s", task_id="t", event_type=SteeringEventType.REDIRECT, payload=payload
    )


def nested(levels: int, inner: Any) -> Any:
    for _ in range(levels):
        inner = {"k": inner}
    return inner


def test_limits_are_the_documented_ones() -> None:
    assert (
        steering.MAX_STEERING_PAYLOAD_BYTES,
        steering.MAX_STEERING_DEPTH,
        steering.MAX_STEERING_KEYS,
        steering.MAX_STEERING_LIST_ITEMS,
        steering.MAX_STEERING_STRING,
    ) == (16384, 6, 64, 50, 4096)


def test_small_payload_is_copied_as_it_is() -> None:
    payload = {"a": [1, 2.5, None, True, "text"], "b": {"c": []}}
    clean = sanitize_payload(payload)
    assert clean == payload
    clean["a"].append(1)
    assert len(payload["a"]) == 5


def test_six_levels_are_kept_and_the_seventh_is_cut() -> None:
    assert sanitize_payload(nested(6, 1)) == nested(6, 1)
    assert sanitize_payload(nested(7, 1)) == nested(6, "<truncated>")
    assert sanitize_payload(nested(5, [[1]])) == nested(5, ["<truncated>"])


def test_keys_beyond_the_64th_leave_a_mark() -> None:
    full = {str(n): n for n in range(64)}
    assert sanitize_payload(full) == full
    assert sanitize_payload({**full, "more": 1}) == {**full, "__truncated_keys__": True}


def test_items_beyond_the_50th_leave_a_mark() -> None:
    full = list(range(50))
    assert sanitize_payload({"a": full}) == {"a": full}
    assert sanitize_payload({"a": [*full, 50]}) == {"a": [*full, "<truncated>"]}


def test_strings_are_cut_at_4096() -> None:
    clean = sanitize_payload({"a": "x" * 4097, "k" * 4097: 1})
    assert clean == {"a": "x" * 4096, "k" * 4096: 1}


def test_what_json_does_not_know_becomes_text() -> None:
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    payload = {"t": (1, 2), "s": {1}, "d": moment, "n": math.inf, 5: "number", "e": event({})}
    clean = sanitize_payload(payload)  # type: ignore[arg-type]
    assert clean["t"] == [1, 2]
    assert clean["s"] == [1]
    assert clean["d"] == str(moment)
    assert clean["n"] == "inf"
    assert clean["5"] == "number"
    assert isinstance(clean["e"], str)


def test_event_is_copied_and_keeps_its_identity() -> None:
    original = event({"goal": "x" * 5000})
    clean = sanitize_steering_event(original)
    assert clean.event_id == original.event_id
    assert clean.payload == {"goal": "x" * 4096}
    assert len(original.payload["goal"]) == 5000


def test_payload_with_too_many_bytes_becomes_a_summary() -> None:
    payload = {str(n): "x" * 4096 for n in range(5)}
    clean = sanitize_steering_event(event(payload))
    assert clean.payload == {"truncated": True, "summary": json.dumps(payload)[:4096]}


def test_limit_in_bytes_can_be_given() -> None:
    payload = {"goal": "x" * 88}
    assert len(json.dumps(payload)) == 100
    assert sanitize_steering_event(event(payload), max_payload_bytes=100).payload == payload
    clean = sanitize_steering_event(event(payload), max_payload_bytes=99)
    assert clean.payload == {"truncated": True, "summary": json.dumps(payload)}


def test_bytes_are_counted_and_not_characters() -> None:
    payload = {str(n): "€" * 4000 for n in range(2)}
    assert sanitize_steering_event(event(payload)).payload["truncated"] is True


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=60)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=5), inner, max_size=70)
    ),
    max_leaves=200,
)


@given(st.dictionaries(st.text() | st.integers(), values, max_size=70))
def test_sanitised_payload_is_json_and_sanitising_again_changes_nothing(payload: Any) -> None:
    clean = sanitize_payload(payload)
    assert json.loads(json.dumps(clean, allow_nan=False)) == clean
    assert sanitize_payload(clean) == clean
