"""What the calls of a replica share, and what becomes of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from penguiflow.telemetry.instrument import AgentInstrument
from penguiflow_nats.agent_answer import Answerer
from penguiflow_nats.call_claims import CallClaims
from penguiflow_nats.call_subjects import CallNames
from penguiflow_nats.call_wire import CallRequest, TaskRecord
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.server_clock import ServerClock
from penguiflow_nats.task_states import StateMoved, TaskStates

Told: TypeAlias = Callable[[CallRequest, TaskRecord], None]
"""Takes a request, and a record that was just written for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSite:
    """What all calls of a replica share."""

    names: CallNames
    jetstream: JetStream
    states: TaskStates
    claims: CallClaims
    clock: ServerClock
    answerer: Answerer
    answer_wait: float
    """Seconds that a task waits for the answer to a question."""
    probe: AgentInstrument | None = None
    told: Told | None = None
    """Told of each record that was written here; who is told also keeps large requests."""


class Settled(Enum):
    """What to tell the server about the request."""

    DONE = "done"
    """The task has its end."""
    LEAVE = "leave"
    """Another replica owns it: what we say counts no more, and could do harm."""
    AGAIN = "again"
    """Hand it back at once."""

    @classmethod
    def elsewhere(cls, moved: StateMoved) -> Settled:
        """What to do with a task that somebody else wrote to."""
        over = moved.held is None or moved.held.record.is_end
        return cls.DONE if over else cls.LEAVE


__all__ = ["AgentSite", "Settled", "Told"]
