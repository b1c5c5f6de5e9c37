"""The store for flows that were given none."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

from penguiflow.artifacts.models import ArtifactRef, ArtifactScope
from penguiflow.artifacts.protocol import ArtifactRefs, ArtifactStore

_logger = logging.getLogger("penguiflow.artifacts")
_WARNING = "No artifact store is configured; the content was not stored"


class NoOpArtifactStore(ArtifactStore):
    """Keeps nothing. Its references say so, and carry the beginning of a text.

    The first artifact is also reported in the log.
    """

    def __init__(self, max_inline_preview: int = 500) -> None:
        self._max_inline_preview = max_inline_preview
        self._warned = False

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
        self._warn_once()
        sha256 = hashlib.sha256(data).hexdigest()
        notes = {"warning": _WARNING, "truncated": True, "original_size": len(data)}
        return ArtifactRef(
            id=f"{namespace or 'art'}_{sha256[:12]}",
            mime_type=mime_type,
            size_bytes=len(data),
            filename=filename,
            sha256=sha256,
            scope=scope,
            namespace=namespace,
            source={**(meta or {}), **notes},
        )

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
        ref = await self.put_bytes(
            text.encode(),
            mime_type=mime_type,
            filename=filename,
            namespace=namespace,
            scope=scope,
            meta=meta,
        )
        left = len(text) - self._max_inline_preview
        rest = f"\n... [{left} more chars truncated]" if left > 0 else ""
        ref.source["preview"] = text[: self._max_inline_preview] + rest
        return ref

    async def get(self, artifact_id: str) -> bytes | None:
        return None

    async def get_ref(self, artifact_id: str) -> ArtifactRef | None:
        return None

    async def delete(self, artifact_id: str) -> bool:
        return False

    async def exists(self, artifact_id: str) -> bool:
        return False

    async def list(self, *, scope: ArtifactScope | None = None) -> ArtifactRefs:
        return []

    def _warn_once(self) -> None:
        if not self._warned:
            self._warned = True
            _logger.warning(_WARNING)
