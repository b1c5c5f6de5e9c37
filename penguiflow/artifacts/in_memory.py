"""Artifacts in this process: for tests and development."""

from __future__ import annotations

from typing import Any

from penguiflow.artifacts.done import DONE, Done
from penguiflow.artifacts.models import ArtifactRef, ArtifactRetentionConfig, ArtifactScope
from penguiflow.artifacts.protocol import ArtifactRefs, ArtifactStore
from penguiflow.artifacts.shelf import Shelf
from penguiflow.clock import SYSTEM_CLOCK, Clock


class InMemoryArtifactStore(ArtifactStore):
    """Keeps artifacts in memory, within the limits of its retention.

    A session is a session of one tenant and user; its limits and those of its traces hold for it
    alone. `scope_filter` is the scope of what is stored without one.
    """

    def __init__(
        self,
        retention: ArtifactRetentionConfig | None = None,
        scope_filter: ArtifactScope | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._shelf = Shelf(retention or ArtifactRetentionConfig())
        self._default_scope = scope_filter
        self._clock = clock

    @property
    def count(self) -> int:
        """How many artifacts there are."""
        return sum(1 for _ in self._shelf.entries(now=self._now()))

    @property
    def total_bytes(self) -> int:
        """How many bytes they have."""
        return sum(len(entry.data) for entry in self._shelf.entries(now=self._now()))

    def clear(self) -> Done:
        """Forget everything."""
        self._shelf.clear()
        return DONE

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
        """Store bytes.

        Raises:
            ValueError: the artifact is too large, or, with the cleanup strategy "none", its
                session or trace is full.
        """
        wanted = ArtifactRef(
            id="",
            mime_type=mime_type,
            filename=filename,
            scope=scope or self._default_scope,
            namespace=namespace,
            source=meta or {},
        )
        return self._shelf.put(bytes(data), wanted, now=self._now()).model_copy(deep=True)

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
            ValueError: as `put_bytes`.
        """
        return await self.put_bytes(
            text.encode(),
            mime_type=mime_type,
            filename=filename,
            namespace=namespace,
            scope=scope,
            meta=meta,
        )

    async def get(self, artifact_id: str) -> bytes | None:
        entry = self._shelf.find(artifact_id, now=self._now(), use=True)
        return None if entry is None else entry.data

    async def get_ref(self, artifact_id: str) -> ArtifactRef | None:
        entry = self._shelf.find(artifact_id, now=self._now())
        return None if entry is None else entry.ref.model_copy(deep=True)

    async def delete(self, artifact_id: str) -> bool:
        if self._shelf.find(artifact_id, now=self._now()) is None:
            return False
        self._shelf.remove(artifact_id)
        return True

    async def exists(self, artifact_id: str) -> bool:
        return self._shelf.find(artifact_id, now=self._now()) is not None

    async def list(self, *, scope: ArtifactScope | None = None) -> ArtifactRefs:
        wanted = scope or ArtifactScope()
        return [
            entry.ref.model_copy(deep=True)
            for entry in self._shelf.entries(now=self._now())
            if _within(entry.ref.scope, wanted)
        ]

    def _now(self) -> float:
        return self._clock.monotonic()


class PlaygroundArtifactStore(InMemoryArtifactStore):
    """An in-memory store that a server shares between sessions.

    Each session has its own references and its own limits; what is stored without a session
    belongs to the session "default".
    """

    DEFAULT_SESSION = "default"

    def __init__(
        self, retention: ArtifactRetentionConfig | None = None, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        super().__init__(retention, clock=clock)

    async def get_with_session_check(self, artifact_id: str, session_id: str) -> bytes | None:
        """The bytes, if the artifact belongs to the session."""
        entry = self._shelf.find(artifact_id, now=self._now())
        if entry is None or self._session_of(entry.ref) != session_id:
            return None
        return await self.get(artifact_id)

    def clear_session(self, session_id: str) -> Done:
        """Forget the artifacts of a session."""
        for entry in self._shelf.entries(now=self._now()):
            if self._session_of(entry.ref) == session_id:
                self._shelf.remove(entry.ref.id)
        return DONE

    def _session_of(self, ref: ArtifactRef) -> str:
        session_id = ref.scope.session_id if ref.scope is not None else None
        return session_id or self.DEFAULT_SESSION


def _within(scope: ArtifactScope | None, wanted: ArtifactScope) -> bool:
    has = scope or ArtifactScope()
    pairs = (
        (wanted.tenant_id, has.tenant_id),
        (wanted.user_id, has.user_id),
        (wanted.session_id, has.session_id),
        (wanted.trace_id, has.trace_id),
    )
    return all(want is None or want == have for want, have in pairs)
