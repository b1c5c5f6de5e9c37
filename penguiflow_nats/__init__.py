"""PenguiFlow on NATS JetStream: workers, clients, remote agents, and a server for laptops."""

from penguiflow.durable.client import DurableClient, TenantMismatch
from penguiflow.durable.ledger import TraceStatus
from penguiflow.durable.topology import FlowNotDurable
from penguiflow.durable.worker import DurableWorker
from penguiflow_nats.connection import Connection
from penguiflow_nats.dead_letters import NatsDeadLetters
from penguiflow_nats.errors import NatsError
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.runtime import client, worker
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.streams import Storage

__all__ = [
    "Connection",
    "ConnectionSettings",
    "DurableClient",
    "DurableWorker",
    "EmbeddedServer",
    "FlowNotDurable",
    "JetStreamLog",
    "NatsDeadLetters",
    "NatsError",
    "Storage",
    "TenantMismatch",
    "TraceStatus",
    "client",
    "worker",
]
