"""The documented import path of the runtime."""

from penguiflow.context import Context
from penguiflow.controller import (
    BUDGET_EXCEEDED_TEXT,
    DEADLINE_EXCEEDED_TEXT,
    TOKEN_BUDGET_EXCEEDED_TEXT,
)
from penguiflow.endpoints import OPEN_SEA, ROOKERY, Endpoint
from penguiflow.errors import TraceCancelled
from penguiflow.floe import Floe
from penguiflow.flow import DEFAULT_QUEUE_MAXSIZE, PenguiFlow, create
from penguiflow.graph import CycleError
from penguiflow.playbooks import PlaybookFactory, call_playbook

__all__ = [
    "BUDGET_EXCEEDED_TEXT",
    "DEADLINE_EXCEEDED_TEXT",
    "DEFAULT_QUEUE_MAXSIZE",
    "OPEN_SEA",
    "ROOKERY",
    "TOKEN_BUDGET_EXCEEDED_TEXT",
    "Context",
    "CycleError",
    "Endpoint",
    "Floe",
    "PenguiFlow",
    "PlaybookFactory",
    "TraceCancelled",
    "call_playbook",
    "create",
]
