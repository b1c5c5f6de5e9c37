"""Where big payloads are kept, so that only references travel."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

from penguiflow.artifacts.models import ArtifactRef, ArtifactScope

ArtifactRefs: TypeAlias = list[ArtifactRef]
"""A list of references; a name of its own, because a store has a method called `list`."""


@runtime_checkable
class ArtifactStore(Protocol):
    """Keeps bytes under an id.

    Guarantees: the id is `{namespace or "art"}_{12 hex digits}`, the digits being the start of the
    content's SHA-256 where that id is free. Storing equal bytes again in the same scope and
    namespace gives the first reference; scopes that differ in tenant, user or session have
    references of their own. An id never gives bytes of another content.
    """

    async def put_bytes(
        self,
        data: bytes,
        *,
        mime_type: str | None = None,
        filename: str | None = None,
        namespace: str | None = None,
        scope: ArtifactScope | None = None,
        meta: dict[str, Any] | None = None,
    ) -> ArtifactRef:
        """Store bytes; `meta` becomes the reference's `source`.

        Raises:
            ValueError: the artifact is larger than the store takes.
        """

    async def put_text(
        self,
        text: str,
        *,
        mime_type: str = "text/plain",
        filename: str | None = None,
        namespace: str | None = None,
        scope: ArtifactScope | None = None,
        meta: dict[str, Any] | None = None,
    ) -> ArtifactRef:
        """Store a text as UTF-8.

        Raises:
            ValueError: the artifact is larger than the store takes.
        """

    async def get(self, artifact_id: str) -> bytes | None:
        """The bytes; None when the id is unknown, expired or deleted."""

    async def get_ref(self, artifact_id: str) -> ArtifactRef | None:
        """The reference; None when the id is unknown, expired or deleted."""

    async def delete(self, artifact_id: str) -> bool:
        """Remove the artifact; whether there was one."""

    async def exists(self, artifact_id: str) -> bool:
        """Whether the id gives bytes."""

    async def list(self, *, scope: ArtifactScope | None = None) -> ArtifactRefs:
        """The references of a scope, oldest first. None, also inside the scope, matches all."""
