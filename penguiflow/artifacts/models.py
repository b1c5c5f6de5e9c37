"""What a store says about an artifact, and how long it keeps one."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

_MIB = 1024 * 1024


class ArtifactScope(BaseModel):
    """Whose artifact it is. As a filter, None matches everything."""

    tenant_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    trace_id: str | None = None


class ArtifactRef(BaseModel):
    """Names an artifact; small enough to travel where the bytes should not."""

    id: str
    mime_type: str | None = None
    size_bytes: int | None = None
    filename: str | None = None
    sha256: str | None = None
    """The hash of the whole content, in hex."""
    scope: ArtifactScope | None = None
    namespace: str | None = None
    source: dict[str, Any] = Field(default_factory=dict)
    """Where the artifact comes from: the `meta` it was stored with."""


class ArtifactRetentionConfig(BaseModel):
    """How long and how much a store keeps."""

    ttl_seconds: float = 3600
    """Zero or less: for ever."""
    max_artifact_bytes: int = 50 * _MIB
    max_session_bytes: int = 500 * _MIB
    max_trace_bytes: int = 100 * _MIB
    max_artifacts_per_trace: int = 100
    max_artifacts_per_session: int = 1000
    cleanup_strategy: Literal["lru", "fifo", "none"] = "lru"
    """What makes room at a limit: the least recently used artifact goes, the oldest goes, or
    nothing goes and the new one is refused."""
