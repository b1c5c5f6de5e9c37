"""What an in-memory artifact store keeps, with its limits. No asyncio, no IO."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from penguiflow.artifacts.models import ArtifactRef, ArtifactRetentionConfig, ArtifactScope

Owner: TypeAlias = tuple[str | None, str | None, str | None]
"""Tenant, user and session: who may see an artifact."""
GroupKey: TypeAlias = tuple[Owner, str | None]
"""A session (the trace is None) or one trace of it."""

_REMEMBERED_IDS = 65_536


def owner_of(scope: ArtifactScope | None) -> Owner:
    """Who an artifact with this scope belongs to."""
    if scope is None:
        return (None, None, None)
    return (scope.tenant_id, scope.user_id, scope.session_id)


@dataclass(frozen=True, slots=True)
class Entry:
    """One artifact."""

    ref: ArtifactRef
    data: bytes
    sha256: str
    owner: Owner
    groups: tuple[GroupKey, ...]


class Group:
    """The artifacts that share a limit, the next one to go first."""

    __slots__ = ("max_bytes", "max_count", "members", "total_bytes")

    def __init__(self, max_bytes: int, max_count: int) -> None:
        self.max_bytes: int = max_bytes
        self.max_count: int = max_count
        self.members: OrderedDict[str, int] = OrderedDict()
        self.total_bytes: int = 0

    def has_room(self, size: int) -> bool:
        """Whether an artifact of this size fits without removing anything."""
        return self.total_bytes + size <= self.max_bytes and len(self.members) + 1 <= self.max_count

    def add(self, artifact_id: str, size: int) -> None:
        self.members[artifact_id] = size
        self.total_bytes += size

    def remove(self, artifact_id: str) -> None:
        self.total_bytes -= self.members.pop(artifact_id)


class Shelf:
    """Artifacts by id, one reference per owner, namespace and content."""

    def __init__(self, retention: ArtifactRetentionConfig) -> None:
        self._retention = retention
        self._entries: dict[str, Entry] = {}
        self._ids: dict[tuple[str | None, Owner, str], str] = {}
        self._groups: dict[GroupKey, Group] = {}
        self._expiry: OrderedDict[str, float] = OrderedDict()
        self._issued: OrderedDict[str, str] = OrderedDict()

    def put(self, data: bytes, ref: ArtifactRef, *, now: float) -> ArtifactRef:
        """Keep bytes; gives the first reference when this owner has stored them before.

        The id, size and hash of `ref` are set here.

        Raises:
            ValueError: the artifact, or the session or trace with it, would be too large.
        """
        self._drop_expired(now)
        sha256 = hashlib.sha256(data).hexdigest()
        owner = owner_of(ref.scope)
        known = self._ids.get((ref.namespace, owner, sha256))
        if known is not None:
            self._touch(known)
            self._set_expiry(known, now)
            return self._entries[known].ref
        groups = self._groups_of(ref, owner)
        self._make_room(len(data), groups)
        artifact_id = self._free_id(ref.namespace, owner, sha256)
        ref = ref.model_copy(
            update={"id": artifact_id, "size_bytes": len(data), "sha256": sha256}, deep=True
        )
        self._add(Entry(ref, data, sha256, owner, groups), now)
        return ref

    def find(self, artifact_id: str, *, now: float, use: bool = False) -> Entry | None:
        """The artifact with this id. `use` makes it the last to go under "lru"."""
        self._drop_expired(now)
        entry = self._entries.get(artifact_id)
        if entry is not None and use:
            self._touch(artifact_id)
        return entry

    def remove(self, artifact_id: str) -> None:
        """Forget an artifact.

        Raises:
            KeyError: there is none with this id.
        """
        entry = self._entries.pop(artifact_id)
        del self._ids[entry.ref.namespace, entry.owner, entry.sha256]
        self._expiry.pop(artifact_id, None)
        for key in entry.groups:
            group = self._groups[key]
            group.remove(artifact_id)
            if not group.members:
                del self._groups[key]

    def entries(self, *, now: float) -> Iterator[Entry]:
        """Everything there is, oldest first."""
        self._drop_expired(now)
        return iter(list(self._entries.values()))

    def clear(self) -> None:
        """Forget everything."""
        for store in (self._entries, self._ids, self._groups, self._expiry, self._issued):
            store.clear()

    def _add(self, entry: Entry, now: float) -> None:
        artifact_id = entry.ref.id
        self._entries[artifact_id] = entry
        self._ids[entry.ref.namespace, entry.owner, entry.sha256] = artifact_id
        for key in entry.groups:
            self._group(key).add(artifact_id, len(entry.data))
        self._set_expiry(artifact_id, now)
        self._issued[artifact_id] = entry.sha256
        if len(self._issued) > _REMEMBERED_IDS:
            self._issued.popitem(last=False)

    def _free_id(self, namespace: str | None, owner: Owner, sha256: str) -> str:
        # An id that once named other bytes stays theirs, although they are gone: whoever still
        # holds the reference must find nothing rather than somebody else's content.
        prefix = namespace or "art"
        digits, attempt = sha256[:12], 0
        while True:
            artifact_id = f"{prefix}_{digits}"
            if artifact_id not in self._entries and self._issued.get(artifact_id, sha256) == sha256:
                return artifact_id
            attempt += 1
            salted = f"{sha256}|{owner!r}|{attempt}"
            digits = hashlib.sha256(salted.encode()).hexdigest()[:12]

    def _groups_of(self, ref: ArtifactRef, owner: Owner) -> tuple[GroupKey, ...]:
        trace_id = ref.scope.trace_id if ref.scope is not None else None
        return ((owner, None),) if trace_id is None else ((owner, None), (owner, trace_id))

    def _group(self, key: GroupKey) -> Group:
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = self._new_group(key)
        return group

    def _new_group(self, key: GroupKey) -> Group:
        limits = self._retention
        if key[1] is None:
            return Group(limits.max_session_bytes, limits.max_artifacts_per_session)
        return Group(limits.max_trace_bytes, limits.max_artifacts_per_trace)

    def _make_room(self, size: int, groups: tuple[GroupKey, ...]) -> None:
        # First all refusals, then all removals: a refused artifact must cost nobody theirs.
        limit = self._retention.max_artifact_bytes
        if size > limit:
            msg = f"Artifact size ({size} bytes) exceeds limit ({limit} bytes)"
            raise ValueError(msg)
        for key in groups:
            name = "session" if key[1] is None else "trace"
            if not self._new_group(key).has_room(size):
                msg = f"artifact of {size} bytes exceeds what one {name} may hold"
                raise ValueError(msg)
            if self._retention.cleanup_strategy == "none" and not self._room_in(key, size):
                msg = f"artifact of {size} bytes does not fit: the {name} is full"
                raise ValueError(msg)
        for key in groups:
            while not self._room_in(key, size):
                self.remove(next(iter(self._groups[key].members)))

    def _room_in(self, key: GroupKey, size: int) -> bool:
        group = self._groups.get(key)
        return group is None or group.has_room(size)

    def _touch(self, artifact_id: str) -> None:
        if self._retention.cleanup_strategy == "lru":
            for key in self._entries[artifact_id].groups:
                self._groups[key].members.move_to_end(artifact_id)

    def _set_expiry(self, artifact_id: str, now: float) -> None:
        if self._retention.ttl_seconds > 0:
            self._expiry[artifact_id] = now + self._retention.ttl_seconds
            self._expiry.move_to_end(artifact_id)

    def _drop_expired(self, now: float) -> None:
        while self._expiry:
            artifact_id, expires_at = next(iter(self._expiry.items()))
            if expires_at > now:
                return
            self.remove(artifact_id)
