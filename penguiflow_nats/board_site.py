"""What the parts of a task board share."""

from __future__ import annotations

from dataclasses import dataclass

from penguiflow_nats.board_index import BoardIndex
from penguiflow_nats.board_notes import BoardNotes
from penguiflow_nats.board_orders import Orders
from penguiflow_nats.call_claims import CallClaims
from penguiflow_nats.call_subjects import CallNames
from penguiflow_nats.connection import Connection
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.server_clock import ServerClock
from penguiflow_nats.task_states import TaskStates


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardSite:
    """What the parts of a board share."""

    connection: Connection
    jetstream: JetStream
    names: CallNames
    states: TaskStates
    claims: CallClaims
    clock: ServerClock
    orders: Orders
    index: BoardIndex
    notes: BoardNotes
    agent: str
    retain: float
    answer_wait: float
    unreachable: float
