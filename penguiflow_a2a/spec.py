"""An A2A agent as a module names it, for `penguiflow a2a serve module:agent`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from a2a.types.a2a_pb2 import AgentCard

from penguiflow.registry import ModelRegistry
from penguiflow_a2a.config import A2AConfig
from penguiflow_a2a.identity import Authenticator
from penguiflow_a2a.service import ExtendedCardAuth


@dataclass(frozen=True, slots=True, kw_only=True)
class A2ASpec:
    """What `A2AService` is given beside its board.

    Attributes:
        agent: The flow, or an async function of (message, ctx).
        name: What it is called; replicas with one name share their tasks.
        card: Its card; made from what the agent says of itself by default.
    """

    agent: Any
    name: str | None = None
    card: AgentCard | None = None
    config: A2AConfig | None = None
    target: Any = None
    registry: ModelRegistry | None = None
    default_headers: Mapping[str, Any] | None = None
    authenticator: Authenticator | None = None
    extended_agent_card: AgentCard | None = None
    extended_agent_card_auth: ExtendedCardAuth | None = None
