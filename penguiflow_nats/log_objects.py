"""The objects of a tenant's logs: a bucket in the official format, made when it is first needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar

from penguiflow.durable.log import LogError, LogFull, LogUnavailable
from penguiflow_nats import error_codes
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import (
    ApiError,
    ConnectionClosed,
    NatsError,
    NoResponders,
    OutcomeUnknown,
)
from penguiflow_nats.kv_bucket import BucketLimits
from penguiflow_nats.object_errors import BucketFull, ObjectCorrupt
from penguiflow_nats.objects import ObjectStore
from penguiflow_nats.streams import DAY, Storage

T = TypeVar("T")

FRESH: Final = 1800.0
"""Seconds for which an object that is there is as good as one that was just put."""
_MISSING = (
    "there is no object bucket {} for values that are too large for a message; a worker or client "
    "with provision='apply' makes it when it first needs it"
)
_UPLOADS: Final = 4
"""Objects that are put at once; each holds up to 4 MiB on its way."""


class JetStreamObjects:
    """See `penguiflow.durable.log.Objects`.

    Args:
        connection: The connection; it stays the caller's.
        bucket: Name of the bucket.
        storage: How safely, for how long and how much, if the bucket has to be made.
        may_create: Whether a bucket that is missing is made; else it has to be there.
    """

    def __init__(
        self,
        connection: Connection,
        bucket: str,
        storage: Storage | None,
        *,
        may_create: Callable[[], bool],
    ) -> None:
        self._may_create = may_create
        self._connection = connection
        self._bucket = bucket
        self._storage = storage or Storage()
        self._opening = asyncio.Lock()
        self._uploads = asyncio.Semaphore(_UPLOADS)
        self._store: ObjectStore | None = None

    async def _opened(self) -> ObjectStore:
        async with self._opening:
            if self._store is None:
                if not self._may_create():
                    self._store = await self._existing()
                    if self._store is None:
                        raise LogError(_MISSING.format(self._bucket))
                    return self._store
                storage = self._storage
                # A day more than what refers to it: so long it may have been there before.
                limits = BucketLimits(
                    replicas=storage.replicas,
                    max_bytes=storage.object_bytes,
                    max_age=timedelta(seconds=max(storage.log_age, storage.dlq_age) + DAY),
                )
                self._store = await ObjectStore.open(
                    self._connection,
                    self._bucket,
                    limits,
                    description="PenguiFlow: large values of one tenant",
                )
            return self._store

    async def put(self, name: str, data: bytes) -> None:
        async def put() -> None:
            store = await self._opened()
            async with self._uploads:
                if await self._age(store, name) > FRESH:
                    await store.put(name, data)

        await _translated(put)

    async def _age(self, store: ObjectStore, name: str) -> float:
        """Seconds since the object was put; infinite if it is not there."""
        found = await store.described(name)
        return float("inf") if found is None else time.time() - found

    async def get(self, name: str) -> bytes | None:
        async def get() -> bytes | None:
            try:
                return await (await self._opened()).get(name)
            except ObjectCorrupt:
                return None

        return await _translated(get)

    async def remove_strays(self, is_wanted: Callable[[str], bool], *, before: float) -> int:
        async def remove() -> int:
            store = await self._existing()
            if store is None:
                return 0
            return await store.remove_unwanted(is_wanted, before=before)

        return await _translated(remove)

    async def _existing(self) -> ObjectStore | None:
        """The bucket, unless it was never needed."""
        if self._store is None:
            store = ObjectStore(self._connection, self._bucket)
            try:
                await store.is_used()
            except ApiError as error:
                if error.err_code == error_codes.STREAM_NOT_FOUND:
                    return None
                raise
            self._store = store
        return self._store


async def _translated(action: Callable[[], Awaitable[T]]) -> T:
    """What the action gives; what the server says is said in the log's words."""
    try:
        return await action()
    except ApiError as error:
        if isinstance(error, BucketFull):  # who submits has a patience of its own
            msg = f"no room for large values: {error}; submit later, or give them more room"
            raise LogFull(msg) from error
        raise LogError(str(error)) from error
    except (ConnectionClosed, NoResponders, OutcomeUnknown) as error:
        raise LogUnavailable(str(error)) from error
    except NatsError as error:
        raise LogError(str(error)) from error


__all__ = ["FRESH", "JetStreamObjects"]
