"""Write a flow of async functions once; run it in one process or spread it over workers."""

from penguiflow.core import (
    DEFAULT_QUEUE_MAXSIZE,
    Context,
    CycleError,
    PenguiFlow,
    call_playbook,
    create,
)
from penguiflow.errors import FlowError, FlowErrorCode
from penguiflow.metrics import FlowEvent
from penguiflow.node import Node, NodePolicy
from penguiflow.registry import ModelRegistry
from penguiflow.types import (
    WM,
    FinalAnswer,
    Headers,
    Message,
    PlanStep,
    StreamChunk,
    Thought,
)

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_QUEUE_MAXSIZE",
    "WM",
    "Context",
    "CycleError",
    "FinalAnswer",
    "FlowError",
    "FlowErrorCode",
    "FlowEvent",
    "Headers",
    "Message",
    "ModelRegistry",
    "Node",
    "NodePolicy",
    "PenguiFlow",
    "PlanStep",
    "StreamChunk",
    "Thought",
    "__version__",
    "call_playbook",
    "create",
]
