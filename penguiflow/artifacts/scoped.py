"""One owner's view of an artifact store."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from penguiflow.artifacts.models import ArtifactRef, ArtifactScope
from penguiflow.artifacts.protocol import ArtifactRefs, ArtifactStore
from penguiflow.artifacts.shelf import owner_of

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


def sanitize_artifact_namespace(namespace: str | None) -> str | None:
    """A namespace that is safe in an id; None when nothing is left of it."""
    if namespace is None:
        return None
    return _UNSAFE.sub("_", namespace).strip("_") or None


class ScopedArtifacts:
    """Writes with its scope, and sees only what belongs to its tenant, user and session.

    Where the artifact or the view leaves one of them open, it is not compared. What belongs to
    somebody else is not there: it cannot be told apart from an unknown id. Immutable.
    """

    __slots__ = ("_scope", "_store")

    _scope: ArtifactScope
    _store: ArtifactStore

    def __init__(
        self,
        store: ArtifactStore,
        *,
        tenant_id: str | None,
        user_id: str | None,
        session_id: str | None,
        trace_id: str | None,
    ) -> None:
        scope = ArtifactScope(
            tenant_id=tenant_id, user_id=user_id, session_id=session_id, trace_id=trace_id
        )
        object.__setattr__(self, "_store", store)
        object.__setattr__(self, "_scope", scope)

    @property
    def scope(self) -> ArtifactScope:
        """A copy of the scope."""
        return self._scope.model_copy()

    async def upload(
        self,
        data: bytes | str,
        *,
        mime_type: str | None = None,
        filename: str | None = None,
        namespace: str | None = None,
        meta: dict[str, Any] | None = None,
    ) -> ArtifactRef:
        """Store bytes or a text.

        Raises:
            ValueError: the artifact is larger than the store takes.
        """
        if isinstance(data, str):
            return await self._store.put_text(
                data,
                mime_type=mime_type or "text/plain",
                filename=filename,
                namespace=namespace,
                scope=self.scope,
                meta=meta,
            )
        return await self._store.put_bytes(
            data,
            mime_type=mime_type,
            filename=filename,
            namespace=namespace,
            scope=self.scope,
            meta=meta,
        )

    async def download(self, artifact_id: str) -> bytes | None:
        """The bytes, or None."""
        if await self.get_metadata(artifact_id) is None:
            return None
        return await self._store.get(artifact_id)

    async def get_metadata(self, artifact_id: str) -> ArtifactRef | None:
        """The reference, or None."""
        ref = await self._store.get_ref(artifact_id)
        return ref if ref is not None and self._sees(ref) else None

    async def list(self) -> ArtifactRefs:
        """The references of this tenant, user and session, of whatever trace."""
        scope = self._scope.model_copy(update={"trace_id": None})
        return [ref for ref in await self._store.list(scope=scope) if self._sees(ref)]

    async def exists(self, artifact_id: str) -> bool:
        """Whether `download` would give bytes."""
        return await self.get_metadata(artifact_id) is not None

    async def delete(self, artifact_id: str) -> bool:
        """Remove an artifact; whether there was one."""
        if await self.get_metadata(artifact_id) is None:
            return False
        return await self._store.delete(artifact_id)

    def _sees(self, ref: ArtifactRef) -> bool:
        pairs = zip(owner_of(self._scope), owner_of(ref.scope), strict=True)
        return all(mine is None or theirs is None or mine == theirs for mine, theirs in pairs)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        msg = f"ScopedArtifacts is immutable: cannot set {name!r}"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> NoReturn:
        msg = f"ScopedArtifacts is immutable: cannot delete {name!r}"
        raise AttributeError(msg)
