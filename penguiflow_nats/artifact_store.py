"""Artifacts in an object bucket of their tenant, their references in its state bucket."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec

from penguiflow.artifacts.models import ArtifactRef, ArtifactRetentionConfig, ArtifactScope
from penguiflow.artifacts.protocol import ArtifactRefs, ArtifactStore
from penguiflow.artifacts.shelf import owner_of
from penguiflow_nats import artifact_keys as keys
from penguiflow_nats.artifact_limits import (
    Place,
    check_size,
    decode_place,
    encode_place,
    in_the_way,
    limits_of,
)
from penguiflow_nats.kv import KeyValue
from penguiflow_nats.object_errors import ObjectCorrupt
from penguiflow_nats.objects import ObjectStore
from penguiflow_nats.runtime import Server
from penguiflow_nats.state_keys import artifact_bucket_name
from penguiflow_nats.state_room import StateRoom

_ISSUED = timedelta(days=30)
"""How long after an artifact's end its id is not given to another content."""
_STRAY = timedelta(hours=1)
"""Age after which an object that no reference names is taken to be left over."""


class _Record(msgspec.Struct, frozen=True):
    """An artifact in the bucket."""

    ref: dict[str, Any]
    object: str
    uploaded_at: float
    """Unix seconds by the server's clock."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Record).decode


class NatsArtifactStore(ArtifactStore):
    """Keeps artifacts on the server, within the limits of its retention.

    A reference is given out, and found by others, only when every byte is confirmed. Equal content
    of different owners (tenant, user, session) is kept for each: one's removal is not another's.
    An id that was given to a content is not given to another one, so a reference never leads to
    foreign bytes. Every method raises `NatsError` when the server is away for too long.
    """

    def __init__(
        self,
        server: Server | StateRoom,
        retention: ArtifactRetentionConfig | None = None,
        *,
        tenant: str | None = None,
    ) -> None:
        """Prepare; it connects with the first call.

        Args:
            server: Where the server is, or the room of a state store, to share it.
            retention: How long and how much is kept. Times are rounded up to whole seconds.
            tenant: Whose artifacts; None for the bucket that tenants share.
        """
        self._room = server if isinstance(server, StateRoom) else StateRoom(server, tenant=tenant)
        self._retention = retention or ArtifactRetentionConfig()
        self._objects: ObjectStore | None = None
        self._opening = asyncio.Lock()

    @property
    def _ttl(self) -> timedelta | None:
        seconds = self._retention.ttl_seconds
        return timedelta(seconds=seconds) if seconds > 0 else None

    async def _open(self) -> tuple[KeyValue, ObjectStore]:
        room = self._room
        kv = await room.open()
        async with self._opening:
            if self._objects is None or self._objects.connection is not kv.connection:
                self._objects = await ObjectStore.open(
                    kv.connection,
                    artifact_bucket_name(room.tenant),
                    room.limits,
                    description="PenguiFlow artifacts of one tenant",
                    patience=room.patience,
                )
        return kv, self._objects

    async def close(self) -> None:
        """Close the connection, unless the caller owns it."""
        await self._room.close()

    # Storing

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
            ValueError: The artifact is too large, or, with the cleanup strategy "none", its
                session or trace is full.
            ForeignTenant: The scope names another tenant than the store.
        """
        wanted = _wanted(mime_type, filename, namespace, scope, meta)
        wanted.size_bytes, wanted.sha256 = len(data), hashlib.sha256(data).hexdigest()
        self._check(wanted)
        known = await self._known(wanted)
        return known or await self._store(wanted, data)

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
        """Store a text as UTF-8. Raises as `put_bytes`."""
        return await self.put_bytes(
            text.encode(),
            mime_type=mime_type,
            filename=filename,
            namespace=namespace,
            scope=scope,
            meta=meta,
        )

    async def put_stream(
        self,
        source: AsyncIterable[bytes],
        *,
        mime_type: str | None = None,
        filename: str | None = None,
        namespace: str | None = None,
        scope: ArtifactScope | None = None,
        meta: dict[str, Any] | None = None,
    ) -> ArtifactRef:
        """Store bytes as they come, a few MiB in memory. Raises as `put_bytes`, and whatever the
        source raises; then nothing is kept."""
        wanted = _wanted(mime_type, filename, namespace, scope, meta)
        self._check(wanted)
        return await self._store(wanted, source)

    def _check(self, wanted: ArtifactRef) -> None:
        self._room.check_tenant(wanted.scope.tenant_id if wanted.scope is not None else None)
        limits = limits_of(wanted, self._retention)
        check_size(wanted.size_bytes or 0, limits, self._retention)

    async def _store(
        self, wanted: ArtifactRef, source: bytes | AsyncIterable[bytes]
    ) -> ArtifactRef:
        _, objects = await self._open()
        # Chunks cannot be kept longer later on. With twice the time, an artifact that is stored
        # again in its time only needs a new reference.
        ttl = None if self._ttl is None else 2 * self._ttl + _STRAY
        info = await objects.put(
            None, source, ttl=ttl, max_bytes=self._retention.max_artifact_bytes
        )
        try:
            wanted.size_bytes, wanted.sha256 = info.size, info.name.partition(".")[0]
            self._check(wanted)
            return await self._publish(wanted, info.name)
        except BaseException:
            await objects.delete(info.name)
            raise

    async def _publish(self, wanted: ArtifactRef, object_name: str) -> ArtifactRef:
        """Make the artifact known, once there is room for it."""
        kv, objects = await self._open()
        await self._name(wanted)
        listed = keys.owned(wanted.scope, wanted.id)
        place = Place(wanted.id, wanted.size_bytes or 0, 0)
        if await kv.create(listed, encode_place(place), ttl=self._ttl) is not None:
            try:
                limits = limits_of(wanted, self._retention)
                for each in await in_the_way(kv, wanted.id, limits, self._retention):
                    await self.delete(each)
            except ValueError:
                await kv.delete(listed)
                raise
        record = _Record(wanted.model_dump(), object_name, await self._room.server_time())
        key = keys.artifact(wanted.id)
        if await kv.create(key, _encode(record), ttl=self._ttl) is not None:
            return wanted
        # Somebody stored the same content for the same owner meanwhile, or before (a stream is
        # known only at its end). The object that is there goes on, unless its time is nearly over.
        known = await self._known(wanted)
        if known is None:
            await kv.put(key, _encode(record), ttl=self._ttl)
            return wanted
        await objects.delete(object_name)
        return known

    async def _name(self, wanted: ArtifactRef) -> None:
        """Find the id that belongs to this content of this owner."""
        kv, _ = await self._open()
        owner, sha256 = owner_of(wanted.scope), wanted.sha256 or ""
        identity = keys.identity(wanted.namespace, owner, sha256).encode()
        ttl = None if self._ttl is None else self._ttl + _ISSUED
        for artifact_id in keys.candidates(wanted.namespace, owner, sha256):
            key = keys.issued(artifact_id)
            if await kv.create(key, identity, ttl=ttl) is None:
                entry = await kv.get(key)
                if entry is None or entry.value != identity:
                    continue
                if ttl is not None:
                    await kv.put(key, identity, ttl=ttl)
            wanted.id = artifact_id
            return

    async def _known(self, wanted: ArtifactRef) -> ArtifactRef | None:
        """The reference of what is stored already, its time begun anew."""
        kv, objects = await self._open()
        await self._name(wanted)
        entry = await kv.get(keys.artifact(wanted.id))
        if entry is None:
            return None
        record = _decode(entry.value)
        ref = ArtifactRef.model_validate(record.ref)
        if self._ttl is None:
            return ref
        age = await self._room.server_time() - record.uploaded_at
        if age > self._ttl.total_seconds() or await objects.info(record.object) is None:
            await self.delete(wanted.id)
            return None
        await kv.put(entry.key, entry.value, ttl=self._ttl)
        listed = await kv.get(keys.owned(ref.scope, ref.id))
        if listed is not None:
            place = decode_place(listed.value)
            place = msgspec.structs.replace(place, order=place.order or listed.revision)
            await kv.put(listed.key, encode_place(place), ttl=self._ttl)
        await self._touch(ref.id)
        return ref

    # Reading

    async def get(self, artifact_id: str) -> bytes | None:
        """The bytes, checked against their hash; None when unknown, expired or deleted.

        Raises:
            ObjectCorrupt: They are not what was stored.
        """
        stream = await self.get_stream(artifact_id)
        return None if stream is None else b"".join([piece async for piece in stream])

    async def get_stream(self, artifact_id: str) -> AsyncIterator[bytes] | None:
        """The bytes in pieces, a few MiB in memory; None when unknown, expired or deleted.

        The last piece comes when all were checked: an iterator that ends without an error gave
        what was stored. It raises `ObjectCorrupt` else.
        """
        _, objects = await self._open()
        record = await self._record(artifact_id)
        if record is None:
            return None
        info = await objects.info(record.object)
        if info is None:
            if await self._record(artifact_id) is None:
                return None  # removed between the two reads
            raise ObjectCorrupt(record.object, "it is not there any more")
        await self._touch(artifact_id)
        return objects.stream_of(info)

    async def get_ref(self, artifact_id: str) -> ArtifactRef | None:
        """The reference, or None."""
        record = await self._record(artifact_id)
        return None if record is None else ArtifactRef.model_validate(record.ref)

    async def exists(self, artifact_id: str) -> bool:
        """Whether the id gives bytes."""
        return await self._record(artifact_id) is not None

    async def list(self, *, scope: ArtifactScope | None = None) -> ArtifactRefs:
        """The references of a scope, oldest first. None, also inside the scope, matches all."""
        kv, _ = await self._open()
        listed = await kv.read([keys.within(scope)])
        places = [(decode_place(entry.value), entry.revision) for entry in listed]
        places.sort(key=lambda each: each[0].order or each[1])
        if not places:
            return []
        entries = await kv.read([keys.artifact(place.id) for place, _ in places])
        refs = [ArtifactRef.model_validate(_decode(entry.value).ref) for entry in entries]
        by_id = {ref.id: ref for ref in refs}
        return [by_id[place.id] for place, _ in places if place.id in by_id]

    async def _record(self, artifact_id: str) -> _Record | None:
        kv, _ = await self._open()
        entry = await kv.get(keys.artifact(artifact_id))
        return None if entry is None else _decode(entry.value)

    async def _touch(self, artifact_id: str) -> None:
        if self._retention.cleanup_strategy == "lru":
            kv, _ = await self._open()
            await kv.put(keys.used(artifact_id), artifact_id.encode(), ttl=self._ttl)

    # Removing

    async def delete(self, artifact_id: str) -> bool:
        """Remove an artifact; whether this call did."""
        kv, objects = await self._open()
        entry = await kv.get(keys.artifact(artifact_id))
        if entry is None or not await kv.delete(entry.key, revision=entry.revision):
            return False
        record = _decode(entry.value)
        ref = ArtifactRef.model_validate(record.ref)
        for key in (keys.owned(ref.scope, artifact_id), keys.used(artifact_id)):
            await kv.purge(key)
        await objects.delete(record.object)
        return True

    async def sweep(self) -> int:
        """Remove objects that no reference names, left by writers that died; how many."""
        kv, objects = await self._open()
        records = [_decode(entry.value) for entry in await kv.read(["ar.*"])]
        named = {record.object for record in records}
        latest = await self._room.server_time() - _STRAY.total_seconds()

        async def is_named(name: str) -> bool:
            return name in named

        return await objects.remove_strays(is_named, before=latest)


def _wanted(
    mime_type: str | None,
    filename: str | None,
    namespace: str | None,
    scope: ArtifactScope | None,
    meta: dict[str, Any] | None,
) -> ArtifactRef:
    return ArtifactRef(
        id="",
        mime_type=mime_type,
        filename=filename,
        scope=scope,
        namespace=namespace,
        source=meta or {},
    ).model_copy(deep=True)


__all__ = ["NatsArtifactStore"]
