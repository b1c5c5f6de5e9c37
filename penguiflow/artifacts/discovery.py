"""Finding the artifact store of an object."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from penguiflow.artifacts.protocol import ArtifactStore


@runtime_checkable
class _HasArtifactStore(Protocol):
    @property
    def artifact_store(self) -> Any: ...


def discover_artifact_store(obj: object) -> ArtifactStore | None:
    """`obj.artifact_store` if that is a store, else `obj` if it is one itself, else None."""
    if isinstance(obj, _HasArtifactStore):
        candidate = obj.artifact_store
        if isinstance(candidate, ArtifactStore):
            return candidate
    return obj if isinstance(obj, ArtifactStore) else None
