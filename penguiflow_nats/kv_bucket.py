"""What a key-value bucket is on the server, and what an entry of one is. Pure.

stream KV_<bucket>, subject $KV.<bucket>.<key>, one message per subject: the value
header KV-Operation DEL or PURGE   the key was removed by somebody
header Nats-Marker-Reason          the key was removed by its time to live, or by a limit
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from penguiflow_nats.jetstream import timestamp_ns
from penguiflow_nats.stream_types import SECOND, StreamConfig

OPERATION = "KV-Operation"
MARKER = "Nats-Marker-Reason"
TTL = "Nats-TTL"


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketLimits:
    """How much a bucket holds and how safely."""

    max_bytes: int | None = None
    """Bytes at which writes are refused; nothing old is pushed out. The server sets them aside at
    once. None is as much as the account may use."""
    max_age: timedelta | None = None
    """Age at which any key goes, whatever it is; None is never."""
    markers: timedelta = timedelta(days=1)
    """How long a bucket remembers that a key went by its own time to live, or was deleted."""
    replicas: int = 1
    """Copies: 3 in production."""


def bucket_config(bucket: str, limits: BucketLimits, description: str = "") -> StreamConfig:
    """The stream of a bucket, as the official clients would make it."""
    return StreamConfig(
        name=f"KV_{bucket}",
        subjects=[f"$KV.{bucket}.>"],
        description=description,
        discard="new",
        max_msgs_per_subject=1,
        max_bytes=-1 if limits.max_bytes is None else limits.max_bytes,
        max_age=round(limits.max_age.total_seconds() * SECOND) if limits.max_age else 0,
        num_replicas=limits.replicas,
        allow_rollup_hdrs=True,
        deny_delete=True,
        allow_direct=True,
        allow_msg_ttl=True,
        subject_delete_marker_ttl=round(limits.markers.total_seconds()) * SECOND,
    )


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A key with its value, or the marker that it was removed."""

    key: str
    value: bytes
    revision: int
    """The sequence of the write: it grows over the whole bucket, and depends on no clock."""
    timestamp: str
    """RFC 3339 time of the write."""
    headers: dict[str, str]

    @property
    def stored_at(self) -> float:
        """Unix seconds of the write, by the server's clock."""
        return timestamp_ns(self.timestamp) / 1e9

    @property
    def removed(self) -> bool:
        """Whether this is only the marker of a removed key."""
        return MARKER in self.headers or self.headers.get(OPERATION) in ("DEL", "PURGE")


def ttl_header(ttl: timedelta | None) -> dict[str, str]:
    """The header for a time to live: whole seconds, rounded up, since the server takes no less."""
    return {} if ttl is None else {TTL: str(max(1, math.ceil(ttl.total_seconds())))}


__all__ = ["MARKER", "OPERATION", "TTL", "BucketLimits", "Entry", "bucket_config", "ttl_header"]
