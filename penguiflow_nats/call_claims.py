"""Claim checks of calls: what is too large for a message lies in an object.

In place of the packed value there is a msgpack extension whose data is the object's name. The name
follows from the task and the content, so writing a value again writes the same object.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from datetime import timedelta

import msgspec
from msgspec import Raw

from penguiflow.durable.envelope import MAX_BYTES, Output
from penguiflow_nats.call_questions import packed, reply_of
from penguiflow_nats.call_subjects import CallNames
from penguiflow_nats.call_wire import ANSWER, TaskRecord
from penguiflow_nats.claims import INLINE_BYTES
from penguiflow_nats.connection import Connection
from penguiflow_nats.kv_bucket import BucketLimits
from penguiflow_nats.object_errors import ObjectCorrupt
from penguiflow_nats.objects import ObjectStore

CLAIM = 100
"""The msgpack extension type of a claim check."""
_EXT_8 = 0xC7
_TRIES, _PAUSE = 4, 0.2
_MARGIN = 3600.0
"""Seconds that an object outlives its task, if nobody removes it with the task."""


def claim_of(value: Raw) -> str | None:
    """The name of the object that a packed value lies in; None when it is here."""
    data = memoryview(value)
    if len(data) < 3 or data[0] != _EXT_8 or data[2] != CLAIM:
        return None
    return bytes(data[3:]).decode("utf-8", "replace")


class CallClaims:
    """The large values of a tenant's calls. The bucket is made when it is first needed."""

    def __init__(self, connection: Connection, names: CallNames) -> None:
        self.replicas = 1
        """Copies of the bucket, if it has to be made."""
        self._connection = connection
        self._bucket = names.calls_bucket
        self._objects: ObjectStore | None = None
        self._lock = asyncio.Lock()

    async def _store(self) -> ObjectStore:
        async with self._lock:
            if self._objects is None:
                self._objects = await ObjectStore.open(
                    self._connection,
                    self._bucket,
                    BucketLimits(replicas=self.replicas),
                    description="Large values of PenguiFlow calls to agents of one tenant",
                )
            return self._objects

    async def check_in(self, task: str, value: Raw, *, keep: float) -> Raw:
        """The value, or what stands for it; it is kept for at least `keep` seconds.

        Raises:
            ObjectTooLarge: nobody would read as much.
            NatsError: the server refuses or is away for too long.
        """
        data = memoryview(value)
        if len(data) <= INLINE_BYTES:
            return value
        name = f"{task}.{hashlib.sha256(data).hexdigest()}"
        store, ttl = await self._store(), timedelta(seconds=round(keep + _MARGIN))
        await store.put(name, bytes(data), ttl=ttl, max_bytes=MAX_BYTES)
        return Raw(msgspec.msgpack.encode(msgspec.msgpack.Ext(CLAIM, name.encode())))

    async def check_in_output(self, task: str, output: Output, *, keep: float) -> Output:
        """The same for the payload of a message."""
        payload = await self.check_in(task, output.payload, keep=keep)
        if payload is output.payload:
            return output
        return msgspec.structs.replace(output, payload=payload)

    async def value(self, value: Raw) -> Raw:
        """The value, wherever it lies.

        Raises:
            ObjectCorrupt: it lies in an object that is gone or damaged.
            NatsError: the server is away for too long.
        """
        name = claim_of(value)
        if name is None:
            return value
        store = await self._store()
        for _ in range(_TRIES):
            with contextlib.suppress(ObjectCorrupt):
                data = await store.get(name)
                if data is None:
                    break
                return Raw(data)
            # The same value is just being written once more, over the one that was being read.
            await asyncio.sleep(_PAUSE)
        raise ObjectCorrupt(name, "it is not there any more, or damaged")

    async def output(self, output: Output) -> Output:
        """A message with its payload. Raises as `value`."""
        if claim_of(output.payload) is None:
            return output
        return msgspec.structs.replace(output, payload=await self.value(output.payload))

    async def record(self, record: TaskRecord) -> TaskRecord:
        """A record with its result, or with the answer that it holds. Raises as `value`."""
        if record.kind == ANSWER:
            reply = reply_of(record)
            message = await self.output(reply.message)
            if message is reply.message:
                return record
            result = packed(msgspec.structs.replace(reply, message=message))
        else:
            result = await self.value(record.result)
        if result is record.result:
            return record
        return msgspec.structs.replace(record, result=result)

    async def release(self, value: Raw) -> None:
        """Remove the object of a value that nobody needs any more. Raises as `value`."""
        name = claim_of(value)
        if name is not None:
            await (await self._store()).delete(name)


__all__ = ["CLAIM", "CallClaims", "claim_of"]
