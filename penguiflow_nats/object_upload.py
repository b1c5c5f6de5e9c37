"""An object on its way into its bucket."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from penguiflow_nats.errors import ApiError, NatsError
from penguiflow_nats.kv_bucket import ttl_header
from penguiflow_nats.object_errors import ObjectTooLarge
from penguiflow_nats.object_info import (
    CHUNK_BYTES,
    ObjectInfo,
    chunk_subject,
    digest_text,
    object_info,
)
from penguiflow_nats.pipeline import Pipeline, Write
from penguiflow_nats.stream_types import PubAck

if TYPE_CHECKING:
    from penguiflow_nats.objects import ObjectStore

_ID = "Nats-Msg-Id"


class Upload:
    """One object on its way in."""

    def __init__(
        self, objects: ObjectStore, *, ttl: timedelta | None = None, max_bytes: int | None = None
    ) -> None:
        """Begin, without a name yet.

        Args:
            objects: The bucket.
            ttl: How long the object is kept; None is until it is deleted.
            max_bytes: Largest size allowed.
        """
        self._objects = objects
        self._max_bytes = max_bytes
        self._ttl = ttl
        self._headers = ttl_header(ttl)
        self._nuid = secrets.token_hex(11)
        self._subject = chunk_subject(objects.bucket, self._nuid)
        self._digest = hashlib.sha256()
        self._rest = bytearray()
        self._chunks = 0
        self._last = 0
        self._pipeline = Pipeline(objects.jetstream, recover=self._recover)
        self.size = 0

    @property
    def sha256(self) -> str:
        """The hash of what was written so far, in hex."""
        return self._digest.hexdigest()

    async def write(self, piece: bytes) -> None:
        """Add bytes; waits while too many are not confirmed.

        Raises:
            ObjectTooLarge: Together they are more than was allowed.
            NatsError: The server refuses, or is away for too long.
        """
        self.size += len(piece)
        if self._max_bytes is not None and self.size > self._max_bytes:
            raise ObjectTooLarge(self._max_bytes)
        self._digest.update(piece)
        view = memoryview(piece)
        if self._rest:
            missing = CHUNK_BYTES - len(self._rest)
            self._rest += view[:missing]
            view = view[missing:]
            if len(self._rest) == CHUNK_BYTES:
                await self._send(bytes(self._rest))
                self._rest.clear()
        while len(view) >= CHUNK_BYTES:
            await self._send(bytes(view[:CHUNK_BYTES]))
            view = view[CHUNK_BYTES:]
        self._rest += view

    async def finish(self, name: str | None) -> ObjectInfo:
        """Make the object visible, once every chunk is confirmed."""
        if self._rest:
            await self._send(bytes(self._rest))
        await self._pipeline.flush()
        objects = self._objects
        name = name or f"{self.sha256}.{self._nuid}"
        before = await objects.info(name)
        info = object_info(
            objects.bucket,
            name,
            self._nuid,
            size=self.size,
            chunks=self._chunks,
            digest=digest_text(self._digest.digest()),
        )
        await objects.describe(info, self._ttl)
        if before is not None:
            await objects.purge_chunks(before.nuid)
        return info

    async def abort(self) -> None:
        """Remove what was sent. A server that is away keeps it until its time to live ends."""
        # A purge may overtake what is still on its way.
        await self._pipeline.drop()
        if self._chunks:
            with contextlib.suppress(NatsError):
                await self._objects.jetstream.purge_stream(
                    self._objects.stream, subject=self._subject
                )

    async def _send(self, chunk: bytes) -> None:
        self._chunks += 1
        headers = {_ID: f"{self._nuid}.{self._chunks}", **self._headers}
        await self._pipeline.send(Write(self._subject, chunk, headers))

    async def _recover(self, writes: Sequence[Write]) -> None:
        """Store the chunks again, each after the one before it.

        A chunk that was stored while one before it was lost lies in the wrong place: it is removed
        and stored once more, under an id of its own.
        """
        jetstream, persist = self._objects.jetstream, self._objects.persist
        for write in writes:
            subject, data, headers = write.subject, write.data, dict(write.headers or {})

            async def store(
                subject: str = subject, data: bytes = data, headers: dict[str, str] = headers
            ) -> PubAck:
                return await jetstream.append(subject, data, headers)

            receipt = await persist(store)
            if receipt.duplicate and receipt.seq < self._last:
                await self._remove(receipt.seq)
                headers[_ID] += ".again"
                receipt = await persist(store)
            self._last = receipt.seq

    async def _remove(self, sequence: int) -> None:
        """Remove a chunk, however often it takes to hear that it is gone."""
        jetstream, stream = self._objects.jetstream, self._objects.stream

        async def remove() -> None:
            try:
                await jetstream.delete_message(stream, sequence)
            except ApiError as error:
                if "not found" not in error.description and "no message" not in error.description:
                    raise

        await self._objects.persist(remove)


__all__ = ["Upload"]
