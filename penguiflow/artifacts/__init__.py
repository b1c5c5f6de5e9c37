"""Artifacts: big payloads kept in a store, so that only references travel.

ArtifactStore            the protocol
InMemoryArtifactStore    keeps them in this process
NoOpArtifactStore        keeps nothing and says so
ScopedArtifacts          one owner's view of a store
"""

from __future__ import annotations

from penguiflow.artifacts.discovery import discover_artifact_store
from penguiflow.artifacts.in_memory import InMemoryArtifactStore
from penguiflow.artifacts.models import ArtifactRef, ArtifactRetentionConfig, ArtifactScope
from penguiflow.artifacts.noop import NoOpArtifactStore
from penguiflow.artifacts.protocol import ArtifactStore
from penguiflow.artifacts.scoped import ScopedArtifacts, sanitize_artifact_namespace

__all__ = [
    "ArtifactRef",
    "ArtifactRetentionConfig",
    "ArtifactScope",
    "ArtifactStore",
    "InMemoryArtifactStore",
    "NoOpArtifactStore",
    "ScopedArtifacts",
    "discover_artifact_store",
    "sanitize_artifact_namespace",
]
