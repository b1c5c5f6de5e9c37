"""Joins: how many messages of a trace become one. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penguiflow.errors import FlowError
from penguiflow.types import Message

if TYPE_CHECKING:
    from penguiflow.node import Node

JOIN_TIMEOUT = "JOIN_TIMEOUT"
"""The code of the error of a join that did not get all its messages in time."""

Expected = int | Callable[[Any], int]


@dataclass(frozen=True, slots=True)
class Join:
    """How many messages make a group: a number, or a function of any one of them."""

    k: Expected
    timeout_s: float | None = None
    """Seconds that a group has from its first message on."""

    def __post_init__(self) -> None:
        if self.timeout_s is not None and not 0 < self.timeout_s < math.inf:
            msg = "timeout_s must be positive"
            raise ValueError(msg)
        if isinstance(self.k, int) and self.k <= 0:
            msg = "k must be positive"
            raise ValueError(msg)

    def expected(self, message: Any) -> int:
        """How many messages the group of this one has.

        Raises:
            ValueError: the function gave less than one.
        """
        if isinstance(self.k, int):
            return self.k
        count = self.k(message)
        if count < 1:
            msg = f"a group of {count} messages cannot be joined; k must be positive"
            raise ValueError(msg)
        return count


def joined(messages: Sequence[Any]) -> Any:
    """The one that a group becomes: the first message with the payloads as a list, or a list."""
    first = messages[0]
    if not isinstance(first, Message):
        return list(messages)
    payloads = [m.payload if isinstance(m, Message) else m for m in messages]
    return first.model_copy(update={"payload": payloads})


class Bucket(list[Any]):
    """What a join in this process has collected of one trace."""

    late: int = 0
    """Messages that may still come of groups whose time is over."""
    group: object | None = None
    """Which group is being collected, for its timer."""
    spans: list[Any] | None = None
    """What the instrument made of the runs that brought the messages; None without one."""


def collect(bucket: Bucket, message: Any, join: Join) -> Any:
    """Add a message; the joined group when it is complete, else None.

    A message of a group whose time is over is dropped.
    """
    if bucket.late:
        bucket.late -= 1
        return None
    bucket.append(message)
    count = join.expected(bucket[0])
    if len(bucket) < count:
        return None
    group = bucket[:count]
    del bucket[:count]
    return joined(group)


def join_timeout(
    node: Node, trace_id: str | None, seconds: float, *, arrived: int, expected: int
) -> FlowError:
    """The error of a join that did not get all its messages in time."""
    return FlowError(
        trace_id=trace_id,
        node_name=node.name,
        node_id=node.node_id,
        code=JOIN_TIMEOUT,
        message=(
            f"join {node.name!r} has {arrived} of {expected} messages {seconds:g} s after the first"
        ),
        metadata={"arrived": arrived, "expected": expected},
    )
