"""What a follower of a task is given. Pure."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from penguiflow_nats.call_wire import Piece, TaskRecord


class Started(NamedTuple):
    """A replica began to work; `again` when what came before is void."""

    epoch: int
    again: bool
    at: float = 0.0
    """When the first that is known of it was stored, by the server's clock."""


class Events(NamedTuple):
    """Events that follow each other; `n` is the number of the first one in its epoch."""

    epoch: int
    n: int
    pieces: list[Piece]


class Asked(NamedTuple):
    """The task waits for its caller, who has been given every event that came before."""

    record: TaskRecord
    at: float = 0.0
    """When it was stored, by the server's clock."""


class Answered(NamedTuple):
    """The caller answered, and the task goes on."""

    record: TaskRecord
    at: float = 0.0
    """When it was stored, by the server's clock."""


News: TypeAlias = Started | Events | Asked | Answered | TaskRecord
