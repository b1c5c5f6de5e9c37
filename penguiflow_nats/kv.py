"""A key-value bucket on JetStream, in the official format: `nats kv` reads and writes it too.

Written on raw subjects, because nats-py's own bucket loses a key's time to live with each write,
cannot create a key over a marker, hands a marker out as an empty value, and asks key by key.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar

from penguiflow_nats import error_codes
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ApiError, NatsError, TooManyResults
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.kv_bucket import (
    MARKER,
    OPERATION,
    BucketLimits,
    Entry,
    bucket_config,
    ttl_header,
)
from penguiflow_nats.multi_get import Found, multi_last
from penguiflow_nats.persist import persist
from penguiflow_nats.stream_types import StoredMessage
from penguiflow_nats.streams import ensure

T = TypeVar("T")

EXPECTED = "Nats-Expected-Last-Subject-Sequence"
WRITE = "PF-Write"
"""Header that names one write, so that its writer knows it again after a lost receipt."""

_ACCOUNT_FULL = 10002
NO_ROOM = (error_codes.MAXIMUM_REACHED, error_codes.INSUFFICIENT_RESOURCES, _ACCOUNT_FULL)
"""Refusals that pass when somebody makes room: the writer waits, and is slowed down by that."""

_PART = 512
"""Subjects named in one request, where more match a filter than the server answers for."""


class KeyValue:
    """One bucket. Reads of one key come from the leader, so they see every confirmed write.

    A call is repeated while the server is away or the bucket is full, for `patience` seconds.
    After them each method raises the last `NatsError`; what the server refuses is raised at once.
    """

    def __init__(
        self,
        connection: Connection,
        bucket: str,
        *,
        patience: float = 60.0,
        replicated: bool = False,
    ) -> None:
        """Use a bucket that exists.

        Args:
            connection: The connection; it stays the caller's.
            bucket: Name of the bucket.
            patience: Seconds for which a call is repeated.
            replicated: Whether reads may meet a replica that lags behind.
        """
        self.replicated = replicated
        self.connection = connection
        self.bucket = bucket
        self.stream = f"KV_{bucket}"
        self.patience = patience
        self.jetstream = JetStream(connection)
        self._prefix = f"$KV.{bucket}."
        self._cut = len(self._prefix)

    def subject(self, key: str) -> str:
        """The subject of a key or of a filter."""
        return self._prefix + key

    async def persist(
        self, action: Callable[[], Awaitable[T]], *, patience: float | None = None
    ) -> T:
        """What the action gives, repeated as `KeyValue` says. It must be safe to repeat."""
        limit = self.patience if patience is None else patience
        return await persist(self.connection, action, limit=limit, also=NO_ROOM)

    @classmethod
    async def open(
        cls,
        connection: Connection,
        bucket: str,
        limits: BucketLimits | None = None,
        *,
        description: str = "",
        patience: float = 60.0,
    ) -> KeyValue:
        """The bucket, made if it is missing.

        Raises:
            StreamDrift: It exists with settings under which the promises do not hold.
            NatsError: The server refuses, or did not answer in time.
        """
        jetstream = JetStream(connection)
        config = bucket_config(bucket, limits or BucketLimits(), description)
        await persist(connection, lambda: ensure(jetstream, config), limit=patience)
        found = (await jetstream.stream_info(config.name)).config
        replicated = found.num_replicas > 1
        return cls(connection, bucket, patience=patience, replicated=replicated)

    # Reading

    async def get(self, key: str) -> Entry | None:
        """The value of a key; None if there is none, or it was removed."""
        entry = await self.entry(key)
        return None if entry is None or entry.removed else entry

    async def entry(self, key: str) -> Entry | None:
        """The newest entry of a key or of a filter, removed or not; None if there is none."""
        subject = self.subject(key)
        found = await self.persist(lambda: self.jetstream.get_last(self.stream, subject))
        return None if found is None else self._of_stored(found)

    async def read(self, filters: Sequence[str]) -> list[Entry]:
        """The values of all keys that match, in the order in which they were written.

        From any replica: on a cluster a write of a moment ago may be missing.
        """
        subjects = [self.subject(each) for each in filters]
        try:
            found = await self._read(subjects)
        except TooManyResults:
            names = {self.subject(key) for each in filters for key in await self.keys(each)}
            found = []
            for part in _parts(sorted(names)):
                found += await self._read(part)
        return sorted(found, key=lambda entry: entry.revision)

    async def keys(self, filter_: str) -> list[str]:
        """The keys that match, in no order, those of removed ones included."""
        subject = self.subject(filter_)
        info = await self.persist(
            lambda: self.jetstream.stream_info(self.stream, subjects_filter=subject)
        )
        return [name[self._cut :] for name in info.state.subjects or ()]

    async def _read(self, subjects: list[str]) -> list[Entry]:
        entries: list[Entry] = []
        start = 0
        while True:
            at = start
            answer = await self.persist(
                lambda: multi_last(self.connection, self.stream, subjects, start=at)  # noqa: B023
            )
            found = [self.of_found(each) for each in answer.found]
            entries += [entry for entry in found if not entry.removed]
            if not answer.pending or not found:
                return entries
            start = found[-1].revision + 1

    # Writing

    async def put(
        self,
        key: str,
        value: bytes,
        *,
        ttl: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Write, whatever was there; gives the revision. The time to live counts from now."""
        subject, sent = self.subject(key), {**(headers or {}), **ttl_header(ttl)}
        receipt = await self.persist(lambda: self.jetstream.append(subject, value, sent or None))
        return receipt.seq

    async def create(
        self,
        key: str,
        value: bytes,
        *,
        ttl: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int | None:
        """Write if there is no value; gives the revision, or None if there is one."""
        sent = {**(headers or {}), **ttl_header(ttl)}
        while True:
            revision = await self._fenced(key, value, 0, sent)
            if revision is not None:
                return revision
            last = await self.entry(key)
            if last is None:
                continue  # it went in between
            if not last.removed:
                return None
            revision = await self._fenced(key, value, last.revision, sent)
            if revision is not None:
                return revision

    async def update(
        self,
        key: str,
        value: bytes,
        revision: int,
        *,
        ttl: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int | None:
        """Write if the key still has this revision; gives the new one, or None if it has not."""
        return await self._fenced(key, value, revision, {**(headers or {}), **ttl_header(ttl)})

    async def delete(
        self, key: str, *, revision: int | None = None, markers: timedelta = timedelta(days=1)
    ) -> bool:
        """Remove a key, and leave a marker for a while.

        Args:
            key: The key.
            revision: Only if it still has this revision.
            markers: How long the marker stays.

        Returns:
            Whether this call removed it; without a revision always True.
        """
        # The reason keeps the server from following the marker's end with one of its own.
        sent = {OPERATION: "DEL", MARKER: "Remove", **ttl_header(markers)}
        if revision is not None:
            return await self._fenced(key, b"", revision, sent) is not None
        await self.put(key, b"", headers=sent)
        return True

    async def purge(self, filter_: str, *, below: int | None = None) -> int:
        """Remove all keys that match, without markers; gives how many messages went.

        Args:
            filter_: A key, possibly with wildcards.
            below: Only what has a smaller revision.
        """
        subject = self.subject(filter_)
        return await self.persist(
            lambda: self.jetstream.purge_stream(self.stream, subject=subject, below_sequence=below)
        )

    async def _fenced(
        self, key: str, value: bytes, expected: int, headers: Mapping[str, str]
    ) -> int | None:
        """Write if the last revision is the expected one.

        The fence also refuses the repetition of a write whose receipt was lost, so each write is
        named, and a refusal after an unknown outcome is settled by a look at what is there.
        """
        subject, name = self.subject(key), secrets.token_hex(8)
        sent = {**headers, WRITE: name, EXPECTED: str(expected)}
        unsure = False

        async def attempt() -> int | None:
            nonlocal unsure
            try:
                return (await self.jetstream.append(subject, value, sent)).seq
            except ApiError as error:
                if error.err_code != error_codes.WRONG_LAST_SEQUENCE:
                    unsure = True
                    raise
            except NatsError:
                unsure = True
                raise
            last = await self.entry(key) if unsure else None
            mine = last is not None and last.headers.get(WRITE) == name
            return last.revision if mine and last is not None else None

        return await self.persist(attempt)

    def of_found(self, found: Found) -> Entry:
        """The entry that a message of the bucket's stream is."""
        key = found.subject[self._cut :]
        return Entry(key, found.data, found.sequence, found.timestamp, found.headers)

    def _of_stored(self, found: StoredMessage) -> Entry:
        return Entry(
            found.subject[self._cut :],
            found.data,
            found.sequence,
            found.timestamp,
            found.headers or {},
        )


def _parts(subjects: list[str]) -> list[list[str]]:
    return [subjects[start : start + _PART] for start in range(0, len(subjects), _PART)]


__all__ = ["KeyValue"]
