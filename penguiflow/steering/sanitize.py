"""Payloads from outside, cut to what a store and a language model can take."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

from penguiflow.state.tasks import SteeringEvent

MAX_STEERING_PAYLOAD_BYTES = 16_384
MAX_STEERING_DEPTH = 6
MAX_STEERING_KEYS = 64
MAX_STEERING_LIST_ITEMS = 50
MAX_STEERING_STRING = 4_096

_TRUNCATED = "<truncated>"
_TRUNCATED_KEYS = "__truncated_keys__"


def sanitize_payload(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON-friendly copy of bounded depth, width and string length.

    Containers below the sixth level become "<truncated>", keys beyond the 64th leave the mark
    `"__truncated_keys__": True`, items beyond the 50th the mark "<truncated>". What JSON does not
    know becomes its text. Sanitising twice gives the same as once.
    """
    return _sanitize_mapping(payload, 1)


def sanitize_steering_event(
    event: SteeringEvent, *, max_payload_bytes: int = MAX_STEERING_PAYLOAD_BYTES
) -> SteeringEvent:
    """A copy with a sanitised payload.

    A payload that still has more JSON than the limit is replaced by
    `{"truncated": True, "summary": ...}` with the beginning of that JSON.
    """
    payload = sanitize_payload(event.payload)
    text = json.dumps(payload, ensure_ascii=False)
    if len(text.encode("utf-8", errors="replace")) > max_payload_bytes:
        payload = {"truncated": True, "summary": text[:MAX_STEERING_STRING]}
    return event.model_copy(update={"payload": payload})


def _sanitize(value: Any, level: int) -> Any:
    if value is None or isinstance(value, int) or _is_finite(value):
        return value
    if isinstance(value, Mapping):
        return _TRUNCATED if level > MAX_STEERING_DEPTH else _sanitize_mapping(value, level)
    if isinstance(value, list | tuple | AbstractSet):
        return _TRUNCATED if level > MAX_STEERING_DEPTH else _sanitize_items(value, level)
    return str(value)[:MAX_STEERING_STRING]


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _sanitize_mapping(mapping: Mapping[Any, Any], level: int) -> dict[str, Any]:
    clean = {
        str(key)[:MAX_STEERING_STRING]: _sanitize(value, level + 1)
        for key, value in islice(mapping.items(), MAX_STEERING_KEYS)
    }
    if len(mapping) > MAX_STEERING_KEYS:
        clean[_TRUNCATED_KEYS] = True
    return clean


def _sanitize_items(items: list[Any] | tuple[Any, ...] | AbstractSet[Any], level: int) -> list[Any]:
    clean = [_sanitize(item, level + 1) for item in islice(items, MAX_STEERING_LIST_ITEMS)]
    if len(items) > MAX_STEERING_LIST_ITEMS:
        clean.append(_TRUNCATED)
    return clean
