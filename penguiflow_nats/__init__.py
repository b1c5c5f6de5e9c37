"""PenguiFlow on NATS JetStream: workers, clients, remote agents, and a server for laptops."""

from penguiflow.durable.client import DurableClient, TenantMismatch
from penguiflow.durable.ledger import TraceStatus
from penguiflow.durable.topology import FlowNotDurable
from penguiflow.durable.worker import DurableWorker
from penguiflow_nats.agent import serve
from penguiflow_nats.agent_skills import AgentContext, Chunk, Rejected, Result, Skill
from penguiflow_nats.artifact_store import NatsArtifactStore
from penguiflow_nats.bus import NatsMessageBus
from penguiflow_nats.call_errors import AgentNotFound, ReplyGap, UnknownTask
from penguiflow_nats.connection import Connection
from penguiflow_nats.dead_letters import NatsDeadLetters
from penguiflow_nats.errors import NatsError
from penguiflow_nats.imported import imported
from penguiflow_nats.kv_bucket import BucketLimits
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.provisioning import TopologyMissing
from penguiflow_nats.redriving import redriver
from penguiflow_nats.runtime import client, worker
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.state_settings import ForeignTenant, StateRetention
from penguiflow_nats.state_store import NatsStateStore
from penguiflow_nats.streams import Storage
from penguiflow_nats.topology_diff import TopologyDrift
from penguiflow_nats.transport import CancelOutcome, NatsTransport

__all__ = [
    "AgentContext",
    "AgentNotFound",
    "BucketLimits",
    "CancelOutcome",
    "Chunk",
    "Connection",
    "ConnectionSettings",
    "DurableClient",
    "DurableWorker",
    "EmbeddedServer",
    "FlowNotDurable",
    "ForeignTenant",
    "JetStreamLog",
    "NatsArtifactStore",
    "NatsDeadLetters",
    "NatsError",
    "NatsMessageBus",
    "NatsStateStore",
    "NatsTransport",
    "Rejected",
    "ReplyGap",
    "Result",
    "Skill",
    "StateRetention",
    "Storage",
    "TenantMismatch",
    "TopologyDrift",
    "TopologyMissing",
    "TraceStatus",
    "UnknownTask",
    "client",
    "imported",
    "redriver",
    "serve",
    "worker",
]
