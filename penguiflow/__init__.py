"""Write a flow of async functions once; run it in one process or spread it over workers."""

from penguiflow import testkit
from penguiflow.artifacts import (
    ArtifactRef,
    ArtifactRetentionConfig,
    ArtifactScope,
    ArtifactStore,
    InMemoryArtifactStore,
    NoOpArtifactStore,
    discover_artifact_store,
)
from penguiflow.bus import BusEnvelope, MessageBus
from penguiflow.core import (
    DEFAULT_QUEUE_MAXSIZE,
    Context,
    CycleError,
    PenguiFlow,
    call_playbook,
    create,
)
from penguiflow.debug import format_flow_event
from penguiflow.errors import FlowError, FlowErrorCode
from penguiflow.logging import ExtraFormatter, StructuredFormatter, configure_logging
from penguiflow.metrics import FlowEvent
from penguiflow.middlewares import LatencyCallback, Middleware, log_flow_events
from penguiflow.node import Node, NodePolicy
from penguiflow.patterns import join_k, map_concurrent, predicate_router, union_router
from penguiflow.policies import DictRoutingPolicy, RoutingPolicy, RoutingRequest
from penguiflow.registry import ModelRegistry
from penguiflow.remote import (
    REMOTE_TERMINAL_TASK_STATES,
    RemoteCallRequest,
    RemoteCallResult,
    RemoteNode,
    RemotePushNotificationBinding,
    RemoteStreamEvent,
    RemoteTaskAuthRequired,
    RemoteTaskEvent,
    RemoteTaskInputRequired,
    RemoteTaskPage,
    RemoteTaskSnapshot,
    RemoteTaskState,
    RemoteTaskStatus,
    RemoteTransport,
    SupportsRemoteTasks,
)
from penguiflow.sessions import (
    InMemorySessionStateStore,
    SessionStateStore,
    StateStoreSessionAdapter,
)
from penguiflow.state import (
    RemoteBinding,
    StateStore,
    StateUpdate,
    SteeringEvent,
    SteeringEventType,
    StoredEvent,
    SupportsConversationBindings,
    TaskContextSnapshot,
    TaskStatus,
    TaskType,
    UpdateType,
)
from penguiflow.steering import SteeringCancelled, SteeringInbox
from penguiflow.streaming import (
    chunk_to_ws_json,
    emit_stream_events,
    format_sse_event,
    stream_flow,
)
from penguiflow.types import (
    WM,
    FinalAnswer,
    Headers,
    Message,
    PlanStep,
    StreamChunk,
    Thought,
)
from penguiflow.viz import flow_to_dot, flow_to_mermaid

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_QUEUE_MAXSIZE",
    "REMOTE_TERMINAL_TASK_STATES",
    "WM",
    "ArtifactRef",
    "ArtifactRetentionConfig",
    "ArtifactScope",
    "ArtifactStore",
    "BusEnvelope",
    "Context",
    "CycleError",
    "DictRoutingPolicy",
    "ExtraFormatter",
    "FinalAnswer",
    "FlowError",
    "FlowErrorCode",
    "FlowEvent",
    "Headers",
    "InMemoryArtifactStore",
    "InMemorySessionStateStore",
    "LatencyCallback",
    "Message",
    "MessageBus",
    "Middleware",
    "ModelRegistry",
    "NoOpArtifactStore",
    "Node",
    "NodePolicy",
    "PenguiFlow",
    "PlanStep",
    "RemoteBinding",
    "RemoteCallRequest",
    "RemoteCallResult",
    "RemoteNode",
    "RemotePushNotificationBinding",
    "RemoteStreamEvent",
    "RemoteTaskAuthRequired",
    "RemoteTaskEvent",
    "RemoteTaskInputRequired",
    "RemoteTaskPage",
    "RemoteTaskSnapshot",
    "RemoteTaskState",
    "RemoteTaskStatus",
    "RemoteTransport",
    "RoutingPolicy",
    "RoutingRequest",
    "SessionStateStore",
    "StateStore",
    "StateStoreSessionAdapter",
    "StateUpdate",
    "SteeringCancelled",
    "SteeringEvent",
    "SteeringEventType",
    "SteeringInbox",
    "StoredEvent",
    "StreamChunk",
    "StructuredFormatter",
    "SupportsConversationBindings",
    "SupportsRemoteTasks",
    "TaskContextSnapshot",
    "TaskStatus",
    "TaskType",
    "Thought",
    "UpdateType",
    "__version__",
    "call_playbook",
    "chunk_to_ws_json",
    "configure_logging",
    "create",
    "discover_artifact_store",
    "emit_stream_events",
    "flow_to_dot",
    "flow_to_mermaid",
    "format_flow_event",
    "format_sse_event",
    "join_k",
    "log_flow_events",
    "map_concurrent",
    "predicate_router",
    "stream_flow",
    "testkit",
    "union_router",
]
