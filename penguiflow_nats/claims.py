"""Claim checks: values too large for a message lie in an object bucket, and a key says where.

The header `PF-Claim` holds the object's name, `<key>.<SHA-256>`: it follows from key and content,
so writing a value again writes the same object, and the object belongs to one key.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta

from penguiflow_nats.kv import KeyValue
from penguiflow_nats.kv_bucket import Entry
from penguiflow_nats.object_errors import ObjectCorrupt
from penguiflow_nats.objects import ObjectStore

CLAIM = "PF-Claim"
INLINE_BYTES = 512 * 1024
"""Largest value inside a message."""


class Claims:
    """The large values of one bucket."""

    def __init__(self, objects: ObjectStore, *, inline_bytes: int = INLINE_BYTES) -> None:
        """Use an object bucket that exists; larger values than `inline_bytes` go there."""
        self.objects = objects
        self.inline_bytes = inline_bytes

    async def check_in(
        self, key: str, value: bytes, *, ttl: timedelta | None = None
    ) -> tuple[bytes, dict[str, str]]:
        """What to write under the key, value and headers; stores the value if it is too large.

        The object is confirmed before this returns, so no key ever names one that is not there.
        """
        if len(value) <= self.inline_bytes:
            return value, {}
        name = f"{key}.{hashlib.sha256(value).hexdigest()}"
        # An object that is there ends at its time; with a time to live it has to begin anew.
        if ttl is not None or await self.objects.info(name) is None:
            await self.objects.put(name, value, ttl=ttl)
        return b"", {CLAIM: name}

    async def value(self, entry: Entry) -> bytes:
        """The value of an entry, wherever it lies.

        Raises:
            ObjectCorrupt: It lies in the object bucket no more, or is damaged.
        """
        name = entry.headers.get(CLAIM)
        if name is None:
            return entry.value
        value = await self.objects.get(name)
        if value is None:
            raise ObjectCorrupt(name, "it is not there any more")
        return value

    async def release(self, entry: Entry) -> None:
        """Remove the object of an entry that is gone, or was replaced."""
        name = entry.headers.get(CLAIM)
        if name is not None:
            await self.objects.delete(name)

    async def remove_strays(self, kv: KeyValue, *, before: float) -> int:
        """Remove the objects that no key names: what was replaced, left by writers that died.

        Args:
            kv: The bucket of the keys.
            before: Only what was stored before, in Unix seconds by the server's clock.

        Returns:
            How many went.
        """

        async def is_named(name: str) -> bool:
            entry = await kv.get(name.rpartition(".")[0])
            return entry is not None and entry.headers.get(CLAIM) == name

        return await self.objects.remove_strays(is_named, before=before)


__all__ = ["CLAIM", "INLINE_BYTES", "Claims"]
