"""How a replica of an agent works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """How a replica works. All times are in seconds."""

    concurrency: int = 16
    """Calls in work at once in this replica."""
    plain_concurrency: int = 256
    """Plain calls in work at once in this replica; more are refused."""
    lease: float = 10.0
    """Silence after which another replica takes a call over."""
    retain: float = 3600.0
    """How long a task is kept after its end: for resuming, and to know a repeated call."""
    max_deliveries: int = 20
    """Deliveries of one call without an end after which it is refused as poison."""
    answer_wait: float = 3600.0
    """How long a task waits for its caller's answer to a question, before it fails."""
    waiting: int = 1024
    """Calls that wait for an answer without counting as in work."""
    version: str = "1.0.0"
    """Semantic version of the agent, for discovery."""
    description: str = ""
    metadata: Mapping[str, str] | None = None
    """More for discovery."""
