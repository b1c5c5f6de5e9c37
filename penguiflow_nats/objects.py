"""An object bucket on JetStream, in the official format, streamed both ways in bounded memory.

An upload is described only after all of its chunks are confirmed, so an object is whole or not
there. A download is checked against the description's SHA-256 before its end is handed out.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import msgspec

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ApiError
from penguiflow_nats.incoming import Reply
from penguiflow_nats.jetstream import JetStream, timestamp_ns
from penguiflow_nats.kv import NO_ROOM
from penguiflow_nats.kv_bucket import BucketLimits, ttl_header
from penguiflow_nats.object_errors import BucketFull, ObjectCorrupt
from penguiflow_nats.object_info import (
    ObjectInfo,
    chunk_subject,
    decode_info,
    digest_text,
    encode_info,
    info_subject,
    name_of,
    object_config,
    object_info,
)
from penguiflow_nats.object_upload import Upload
from penguiflow_nats.persist import persist
from penguiflow_nats.stream_types import StoredMessage
from penguiflow_nats.streams import ensure

T = TypeVar("T")

_READ_CHUNKS = 16
"""Chunks asked for at once: with one such answer in hand and one on its way, 4 MiB."""
_LAG_TRIES, _LAG_PAUSE = 100, 0.02


class ObjectStore:
    """One bucket. Waits and raises as `KeyValue` does, but never for room: an object is too large
    to be held until somebody else's goes. A bucket that is full refuses with `BucketFull`."""

    def __init__(self, connection: Connection, bucket: str, *, patience: float = 60.0) -> None:
        """Use a bucket that exists.

        Args:
            connection: The connection; it stays the caller's.
            bucket: Name of the bucket.
            patience: Seconds for which a call is repeated. Below the bucket's duplicate window
                (120 s), or a chunk could be stored twice.
        """
        self.connection = connection
        self.bucket = bucket
        self.stream = f"OBJ_{bucket}"
        self.patience = patience
        self.jetstream = JetStream(connection)

    @classmethod
    async def open(
        cls,
        connection: Connection,
        bucket: str,
        limits: BucketLimits | None = None,
        *,
        description: str = "",
        patience: float = 60.0,
    ) -> ObjectStore:
        """The bucket, made if it is missing. Raises as `KeyValue.open`."""
        config = object_config(bucket, limits or BucketLimits(), description)
        jetstream = JetStream(connection)
        await persist(connection, lambda: ensure(jetstream, config), limit=patience)
        return cls(connection, bucket, patience=patience)

    # Writing

    async def put(
        self,
        name: str | None,
        source: bytes | AsyncIterable[bytes],
        *,
        ttl: timedelta | None = None,
        max_bytes: int | None = None,
    ) -> ObjectInfo:
        """Store an object; it replaces one of the same name.

        Args:
            name: Its name; None names it by its content, `<SHA-256 in hex>.<upload>`.
            source: The bytes, at once or in pieces of any size.
            ttl: How long it is kept; None is until it is deleted.
            max_bytes: Largest size allowed.

        Raises:
            ObjectTooLarge: The source has more bytes.
            BucketFull: There is no room for it; nothing of it is kept.
            NatsError: The server refuses or is away for too long; nothing of it is kept.
        """
        upload = Upload(self, ttl=ttl, max_bytes=max_bytes)
        try:
            async for piece in _pieces(source):
                await upload.write(piece)
            return await upload.finish(name)
        except BaseException:
            await upload.abort()
            raise

    async def delete(self, name: str) -> bool:
        """Remove an object; whether there was one."""
        info = await self.info(name)
        if info is None:
            return False
        gone = object_info(self.bucket, name, info.nuid, size=0, chunks=0, deleted=True)
        await self.describe(gone, timedelta(days=1))
        await self.purge_chunks(info.nuid)
        return True

    async def purge_chunks(self, nuid: str) -> int:
        """Remove the chunks of an upload; how many there were."""
        return await self._purge(chunk_subject(self.bucket, nuid))

    async def remove_strays(
        self, is_wanted: Callable[[str], Awaitable[bool]], *, before: float
    ) -> int:
        """Remove objects that nobody wants, and the chunks of uploads that were never finished.

        Args:
            is_wanted: Whether the object of this name stays.
            before: Only what was stored before, in Unix seconds by the server's clock.

        Returns:
            How many objects and uploads went.
        """
        count = 0
        finished = set()
        for subject in await self._subjects("M.>"):
            found = await self._last(subject)
            info = None if found is None or not found.data else decode_info(found.data)
            if found is None or info is None or info.deleted:
                continue
            finished.add(info.nuid)
            old = timestamp_ns(found.timestamp) / 1e9 < before
            if old and not await is_wanted(info.name):
                count += await self.delete(info.name)
        for subject in await self._subjects("C.>"):
            nuid = subject.rpartition(".")[2]
            found = None if nuid in finished else await self._last(subject)
            if found is not None and timestamp_ns(found.timestamp) / 1e9 < before:
                await self.purge_chunks(nuid)
                count += 1
        return count

    async def remove_unwanted(self, is_wanted: Callable[[str], bool], *, before: float) -> int:
        """As `remove_strays`, but asks for objects by their names alone, and leaves no marker.

        The chunks of uploads that were never finished are looked for only when there must be some.
        """
        named = await self._subjects("M.>")
        count = 0
        for subject in named:
            if is_wanted(name_of(subject)):
                continue
            found = await self._last(subject)
            if found is None or timestamp_ns(found.timestamp) / 1e9 >= before:
                continue
            await self._purge(subject)
            if found.data:
                await self.purge_chunks(decode_info(found.data).nuid)
            count += 1
        if len(await self._subjects("C.>")) > len(named) - count:
            count += await self.remove_strays(_anything, before=before)
        return count

    async def _purge(self, subject: str) -> int:
        return await self.persist(lambda: self.jetstream.purge_stream(self.stream, subject=subject))

    async def described(self, name: str) -> float | None:
        """When the object was stored, in Unix seconds by the server's clock; None if there is
        none."""
        found = await self._last(info_subject(self.bucket, name))
        if found is None or not found.data or decode_info(found.data).deleted:
            return None
        return timestamp_ns(found.timestamp) / 1e9

    async def _subjects(self, filter_: str) -> list[str]:
        wanted = f"$O.{self.bucket}.{filter_}"
        info = await self.persist(
            lambda: self.jetstream.stream_info(self.stream, subjects_filter=wanted)
        )
        return list(info.state.subjects or ())

    async def _last(self, subject: str) -> StoredMessage | None:
        return await self.persist(lambda: self.jetstream.get_last(self.stream, subject))

    async def describe(self, info: ObjectInfo, ttl: timedelta | None) -> None:
        """Say what an object is, or that it is gone. For uploads."""
        subject = info_subject(self.bucket, info.name)
        headers = {"Nats-Rollup": "sub", **ttl_header(ttl)}
        await self.persist(lambda: self.jetstream.append(subject, encode_info(info), headers))

    async def persist(self, action: Callable[[], Awaitable[T]]) -> T:
        """What the action gives, repeated while the server is away. It must be safe to repeat."""
        try:
            return await persist(self.connection, action, limit=self.patience, never=NO_ROOM)
        except ApiError as error:
            if error.err_code in NO_ROOM:
                raise BucketFull(self.bucket, error) from error
            raise

    # Reading

    async def is_used(self) -> bool:
        """Whether the bucket holds anything."""
        info = await self.persist(lambda: self.jetstream.stream_info(self.stream))
        return info.state.messages > 0

    async def info(self, name: str) -> ObjectInfo | None:
        """What the bucket says about an object; None if there is none."""
        subject = info_subject(self.bucket, name)
        found = await self._last(subject)
        if found is None or not found.data:
            return None
        info = decode_info(found.data)
        return None if info.deleted else info

    async def get(self, name: str) -> bytes | None:
        """The whole object, checked; None if there is none.

        Raises:
            ObjectCorrupt: Its chunks are not what was uploaded.
        """
        info = await self.info(name)
        return None if info is None else b"".join([piece async for piece in self.stream_of(info)])

    async def stream_of(self, info: ObjectInfo) -> AsyncIterator[bytes]:
        """The object in pieces. The last one comes only when all of them were checked.

        Raises:
            ObjectCorrupt: The chunks are not what was uploaded. What came before it is not good.
        """
        digest = hashlib.sha256()
        size = count = tries = 0
        position = 0
        held: bytes | None = None
        while count < info.chunks:
            chunks, position = await self._chunks(info.nuid, position + 1)
            if not chunks:
                # A replica may lag behind the leader, which described the object already.
                tries += 1
                if tries > _LAG_TRIES:
                    raise ObjectCorrupt(info.name, f"{count} of {info.chunks} chunks are there")
                await asyncio.sleep(_LAG_PAUSE)
            for chunk in chunks:
                if held is not None:
                    yield held
                held = chunk
                digest.update(chunk)
                size += len(chunk)
                count += 1
        if size != info.size or digest_text(digest.digest()).rstrip("=") != info.digest.rstrip("="):
            raise ObjectCorrupt(info.name, "its bytes do not have the hash that was noted")
        if held is not None:
            yield held

    async def _chunks(self, nuid: str, start: int) -> tuple[list[bytes], int]:
        body = {
            "seq": start,
            "batch": _READ_CHUNKS,
            "next_by_subj": chunk_subject(self.bucket, nuid),
        }
        request = msgspec.json.encode(body)
        return await self.persist(lambda: self._ask(request, start))

    async def _ask(self, request: bytes, start: int) -> tuple[list[bytes], int]:
        chunks: list[bytes] = []
        position = start - 1

        def receive(reply: Reply) -> bool:
            nonlocal position
            headers = reply.headers or {}
            if "Nats-Subject" in headers:
                chunks.append(reply.data)
                position = int(headers["Nats-Sequence"])
                return False
            status, description = reply.status_line()
            if status not in (204, 404):
                raise ApiError(status or 500, 0, description or "not a direct-get answer")
            return True

        subject = f"$JS.API.DIRECT.GET.{self.stream}"
        await self.connection.request_many(subject, request, receive=receive)
        return chunks, position


async def _anything(name: str) -> bool:
    return True


async def _pieces(source: bytes | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(source, bytes | bytearray | memoryview):
        yield bytes(source)
        return
    async for piece in source:
        yield piece


__all__ = ["ObjectStore"]
