"""How a service behaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class PayloadMode(StrEnum):
    """What the flow is given of a message."""

    AUTO = "auto"
    """The text, the data or the bytes of its parts."""
    ENVELOPE = "envelope"
    """The whole message as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class A2AConfig:
    """How a service behaves. Times are in seconds, sizes in bytes."""

    supported_versions: Sequence[str] = ("1.0",)
    """Versions of the protocol (major.minor) that are answered."""
    default_version: str | None = None
    """The version of a request that names none; None refuses it (the protocol reads it as 0.3)."""
    allow_tenant_prefix: bool = True
    """Whether paths may begin with `/{tenant}`."""
    default_tenant: str = "default"
    """The tenant of requests that name none."""
    payload_mode: PayloadMode = PayloadMode.AUTO
    agent_url: str | None = None
    """Where the service is reached; for cards that are generated."""
    task_timeout: float | None = 3600.0
    """From a message to the deadline of its task; None is never."""
    longest_timeout: float = 86_400.0
    """The longest time that a caller may ask for."""
    card_max_age: int = 300
    """Seconds for which a card may be kept by those who fetched it."""
    failure_texts: bool = False
    """Whether callers are told the text of an exception that failed their task. It may say more
    than they should know."""
    hold_task: float = 0.05
    """Seconds for which a stream holds its first event back, to see whether the flow answers with
    a bare message, which must come alone."""
    max_body: int = 16 * 1024 * 1024
    """Bytes of a request."""
    max_open_streams: int = 1024
    """Streams of one owner that are open at once in this process."""
    requests_per_second: float | None = None
    """Requests of one owner in this process, with bursts of one second; None for any."""
    max_push_configs: int = 16
    """Push notification configurations of one task."""
    max_page: int = 100
    """Tasks on a page."""
