"""The node that calls the summarising agent."""

from __future__ import annotations

from census_names import AGENT, SKILL, TENANT

from penguiflow import Node, NodePolicy
from penguiflow.endpoints import ROOKERY
from penguiflow.remote_node import RemoteNode
from penguiflow_nats.transport import NatsTransport


def summarising_agent(name: str) -> Node:
    """A remote node whose words go to whoever follows the trace, not to the next node."""
    return RemoteNode(
        # Where the server is the transport takes from PENGUIFLOW_NATS_URL, at its first call.
        transport=NatsTransport(tenant=TENANT, agent_wait=30.0),
        skill=SKILL,
        agent_url=f"nats://{AGENT}",
        name=name,
        policy=NodePolicy(validate="none", max_retries=8, timeout_s=60.0, max_backoff=5.0),
        streaming=True,
        chunks_to=ROOKERY,
    )
