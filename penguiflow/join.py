"""Joins: how many messages of a trace become one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from penguiflow.types import Message

Expected = int | Callable[[Any], int]


@dataclass(frozen=True, slots=True)
class Join:
    """How many messages make a group: a number, or a function of any one of them."""

    k: Expected

    def __post_init__(self) -> None:
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
