"""What the doctor finds, and what it was asked about. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from penguiflow.durable.topology import Topology, flow_token
from penguiflow.flow import PenguiFlow
from penguiflow_nats.stream_types import AccountInfo, ConsumerInfo, StreamInfo
from penguiflow_nats.subjects import Names

_OURS = re.compile(
    r"(?:KV_|OBJ_)?PF_(.+?)_(?:0|DLQ|CHUNKS|CALLS|REPLIES|STATE|STATE_CLAIMS|ARTIFACTS|LARGE)"
)

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From the worst on. An error breaks a promise or stops work; a warning may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it should be, or could not be looked at."""

    id: str
    """Stable: scripts may wait for it."""
    severity: Severity
    where: str
    """The server, account, stream, consumer or node."""
    evidence: str
    """What was seen, with its numbers."""
    fix: str
    """A command or a setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is to be examined, and how it is meant to run."""

    tenant: str = "default"
    flow: PenguiFlow | None = None
    lease: float = 15.0
    concurrency: int = 64
    workers: int = 1

    @property
    def names(self) -> Names:
        """What the flow is called on the server; any name without a flow."""
        if self.flow is None:
            return Names(self.tenant, "flow")
        return Names(self.tenant, flow_token(self.flow.graph, self.flow.name, self.flow.version))

    @property
    def topology(self) -> Topology | None:
        """The consumers that the flow should have."""
        return None if self.flow is None else Topology(self.flow.graph, lease=self.lease)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server says to a client."""

    version: str = ""
    jetstream: bool = False
    headers: bool = False
    max_payload: int = 0
    auth_required: bool = False
    tls: bool = False
    cluster: str = ""
    addresses: int = 0
    """Servers of the cluster that it announces."""
    loopback: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorFacts:
    """What a server's monitoring says."""

    sync_always: bool = False
    sync_interval: float = 0.0
    """Seconds."""
    max_storage: int = 0
    reserved_storage: int = 0
    storage: int = 0
    cluster_size: int = 0
    disk_free: int | None = None
    """Bytes; known where the server's disk is this machine's."""
    disk_total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that was seen."""

    server: ServerFacts
    monitor: MonitorFacts | None = None
    account: AccountInfo | None = None
    """None without JetStream."""
    account_name: str = ""
    clock_offset: float | None = None
    """Seconds by which this machine is ahead of the server, to half a round trip."""
    streams: Mapping[str, StreamInfo] = field(default_factory=dict)
    consumers: Mapping[tuple[str, str], ConsumerInfo] = field(default_factory=dict)
    """By stream and name."""
    earlier: Mapping[tuple[str, str], ConsumerInfo] = field(default_factory=dict)
    """The same, `interval` seconds before."""
    earlier_streams: Mapping[str, StreamInfo] = field(default_factory=dict)
    interval: float = 0.0
    missing: tuple[str, ...] = ()
    """Streams whose leader did not answer."""
    letters: Mapping[str, int] = field(default_factory=dict)
    """Dead letters by flow and node."""


def owner(stream: str) -> str | None:
    """The token of the tenant whose stream or bucket this is; None if it is not one of ours."""
    match = _OURS.fullmatch(stream)
    return None if match is None else match[1]


def amount(number: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            return f"{number:.4g} {unit}"
        number /= 1024
    raise AssertionError


def period(seconds: float) -> str:
    """Seconds for people."""
    for size, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


__all__ = [
    "SEVERITIES",
    "Case",
    "Facts",
    "Finding",
    "MonitorFacts",
    "ServerFacts",
    "Severity",
    "amount",
    "owner",
    "period",
]
