"""Copies, so that what a store keeps and what its users hold never change each other."""

from __future__ import annotations

import copy
from typing import Any, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")

_ATOMS = frozenset({str, int, float, bool, type(None), bytes})


@runtime_checkable
class Serialisable(Protocol):
    """An opaque value that knows how to be copied."""

    def serialise(self) -> Any: ...
    @classmethod
    def from_serialised(cls, data: Any) -> Any: ...


def snapshot(value: Any) -> Any:
    """A copy of a JSON-like value; several times faster than `copy.deepcopy` for those.

    What cannot be copied is kept as it is: an odd value in an event's payload is no reason to
    lose the event.
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is dict:
        # Most payloads are flat; asking for all types at once costs a tenth of asking for each.
        if _ATOMS.issuperset(map(type, value.values())):
            return value.copy()
        return {key: snapshot(item) for key, item in value.items()}
    if kind is list:
        return [snapshot(item) for item in value]
    try:
        return copy.deepcopy(value)
    except TypeError:
        return value


def opaque_copy(value: T) -> T:
    """A copy of a trajectory or planner event, in its own way if it has one.

    Raises:
        TypeError: the value has no way of its own and cannot be copied.
    """
    if isinstance(value, Serialisable):
        copied: T = value.from_serialised(value.serialise())
        return copied
    return copy.deepcopy(value)
