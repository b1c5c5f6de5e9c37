"""What the parts of a state store share: the buckets, opened once, and how they are written."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TypeVar

from penguiflow_nats import error_codes
from penguiflow_nats.claims import CLAIM, INLINE_BYTES, Claims
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ApiError, NatsError
from penguiflow_nats.imported import check_tenant
from penguiflow_nats.kv import EXPECTED, KeyValue
from penguiflow_nats.kv_bucket import BucketLimits, Entry, ttl_header
from penguiflow_nats.object_errors import ObjectCorrupt
from penguiflow_nats.objects import ObjectStore
from penguiflow_nats.opening import opened
from penguiflow_nats.pipeline import Pipeline, Write
from penguiflow_nats.runtime import Server
from penguiflow_nats.state_keys import bucket_name, object_bucket_name
from penguiflow_nats.state_settings import ForeignTenant, Mode, StateRetention

logger = logging.getLogger("penguiflow.nats")

T = TypeVar("T")

_PATIENCE: dict[Mode, float] = {"durable": 60.0, "mirror": 1.0}
_SLACK = timedelta(minutes=5)
"""How much longer a large value is kept than the key that names it."""
_LOAD_TRIES = 3
_NOTED, _MOST_NOTED = 60.0, 10_000
_REST = 5.0
"""Seconds after a failure in which a mirror does not try to connect."""

TERMINAL_KINDS = frozenset(("trace_cancel_finish",))
"""Kinds of events after which a trace is over."""


class Noted:
    """The traces that were noted in the bucket a moment ago."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def __contains__(self, place: str) -> bool:
        return self._until.get(place, 0.0) > time.monotonic()

    def add(self, place: str) -> None:
        """Remember one for a minute: another process may remove the trace meanwhile."""
        self._until[place] = time.monotonic() + _NOTED
        self._until.move_to_end(place)
        if len(self._until) > _MOST_NOTED:
            self._until.popitem(last=False)

    def forget(self, trace: str) -> None:
        """A trace was removed."""
        for place in [each for each in self._until if each.partition(".")[0] == trace]:
            del self._until[place]


class StateRoom:
    """The state of one tenant on a server. It opens itself with the first call."""

    def __init__(
        self,
        server: Server,
        *,
        tenant: str | None,
        limits: BucketLimits | None = None,
        retention: StateRetention | None = None,
        mode: Mode = "durable",
        patience: float | None = None,
        inline_bytes: int = INLINE_BYTES,
        terminal_kinds: frozenset[str] = TERMINAL_KINDS,
    ) -> None:
        """Prepare, without connecting. Arguments as of `NatsStateStore`."""
        self.terminal_kinds = terminal_kinds
        self.noted = Noted()
        self._server = server
        self.tenant = tenant
        self.limits = limits or BucketLimits()
        self.retention = retention or StateRetention()
        self.mode = mode
        self.patience = _PATIENCE[mode] if patience is None else patience
        self.inline_bytes = inline_bytes
        self.lost = 0
        self._rest_until = 0.0
        self._opening = asyncio.Lock()
        self._stack: AsyncExitStack | None = None
        self._kv: KeyValue | None = None
        self._claims: Claims | None = None

    @property
    def kv(self) -> KeyValue:
        """The bucket; after `open`."""
        if self._kv is None:
            msg = "the state store is not open"
            raise RuntimeError(msg)
        return self._kv

    @property
    def claims(self) -> Claims:
        """The values that are too large for the bucket; after `open`."""
        if self._claims is None:
            msg = "the state store is not open"
            raise RuntimeError(msg)
        return self._claims

    async def open(self) -> KeyValue:
        """Connect and make the buckets, the first time; gives the bucket.

        Raises:
            StreamDrift: A bucket exists with settings under which the promises do not hold.
            NatsError: The server cannot be reached, or refuses.
        """
        if self._kv is None:
            async with self._opening:
                if self._kv is None:
                    await self._open()
        return self.kv

    async def _open(self) -> None:
        stack = AsyncExitStack()
        async with stack:
            connection = await stack.enter_async_context(
                opened(self._server, patience=self.patience)
            )
            check_tenant(connection, self.tenant)
            objects = await ObjectStore.open(
                connection, object_bucket_name(self.tenant), self.limits, patience=self.patience
            )
            kv = await KeyValue.open(
                connection,
                bucket_name(self.tenant),
                self.limits,
                description="PenguiFlow state of one tenant",
                patience=self.patience,
            )
            self._claims = Claims(objects, inline_bytes=self._inline(connection))
            self._kv = kv
            self._stack = stack.pop_all()

    def _inline(self, connection: Connection) -> int:
        """Bytes that fit into a message beside subject and headers."""
        client = connection.client
        accepted = client.max_payload if client is not None else 0
        return min(self.inline_bytes, accepted // 2) if accepted else self.inline_bytes

    async def close(self) -> None:
        """Close the connection, if it was opened here. The next call opens anew."""
        stack, self._stack = self._stack, None
        self._kv = self._claims = None
        if stack is not None:
            await stack.aclose()

    def check_tenant(self, named: str | None) -> None:
        """Make sure that what is stored belongs here.

        Raises:
            ForeignTenant: It names another tenant than the store.
        """
        if self.tenant is not None and named is not None and named != self.tenant:
            raise ForeignTenant(self.tenant, named)

    # Writing

    async def tell(self, action: Callable[[], Awaitable[None]]) -> None:
        """Write what happened, as the mode says."""
        if self.mode == "durable":
            await action()
            return
        if self._is_resting():
            self.lost += 1
            return
        try:
            await action()
        except NatsError as error:
            self.lost += 1
            self._rest_until = time.monotonic() + _REST
            logger.warning("state store: given up in mirror mode: %s", error)

    def _is_resting(self) -> bool:
        """Whether the server was away a moment ago and still is: then nobody waits for it."""
        connected = self._kv is not None and self._kv.connection.is_connected
        return not connected and time.monotonic() < self._rest_until

    async def once(self, key: str, value: bytes, *, ttl: timedelta | None = None) -> None:
        """Write a key, unless it is there already. Safe to repeat, by anybody, at any time."""
        await self.open()
        await self.send([await self.write_once(key, value, ttl=ttl)])

    async def write_once(self, key: str, value: bytes, *, ttl: timedelta | None) -> Write:
        """The message that writes a key unless it is there already."""
        stored = value
        headers: dict[str, str] = {}
        if len(value) > self.claims.inline_bytes:
            stored, headers = await self.claims.check_in(key, value, ttl=_longer(ttl))
        headers = {**headers, EXPECTED: "0", **ttl_header(ttl)}
        return Write(self.kv.subject(key), stored, headers)

    def pipeline(self) -> Pipeline:
        """Sends many messages of `write_once`."""
        return Pipeline(self.kv.jetstream, recover=self._recover, harmless=_is_there)

    async def send(self, writes: Sequence[Write]) -> None:
        """Send messages of `write_once` in this order, and wait until all are stored."""
        pipeline = self.pipeline()
        try:
            for write in writes:
                await pipeline.send(write)
            await pipeline.flush()
        finally:
            pipeline.abandon()

    async def _recover(self, writes: Sequence[Write]) -> None:
        jetstream = self.kv.jetstream
        for subject, data, headers in writes:
            try:
                await self.kv.persist(lambda: jetstream.append(subject, data, headers))  # noqa: B023
            except ApiError as error:
                if not _is_there(error):
                    raise

    async def put(self, key: str, value: bytes, *, ttl: timedelta | None = None) -> None:
        """Write a key, whatever was there."""
        kv = await self.open()
        stored, headers = await self.claims.check_in(key, value, ttl=_longer(ttl))
        before = await kv.entry(key) if headers else None
        await kv.put(key, stored, ttl=ttl, headers=headers)
        if before is not None and before.headers.get(CLAIM) != headers.get(CLAIM):
            await self.claims.release(before)

    # Reading

    async def load(self, key: str) -> tuple[Entry, bytes] | None:
        """A key with its value, wherever that lies; None if there is none."""
        kv = await self.open()
        for attempt in range(_LOAD_TRIES):
            entry = await kv.get(key)
            if entry is None:
                return None
            try:
                return entry, await self.claims.value(entry)
            except ObjectCorrupt:
                # It may have been replaced between the two reads.
                if attempt == _LOAD_TRIES - 1:
                    raise
        return None

    async def server_time(self) -> float:
        """Unix seconds by the server's clock."""
        kv = await self.open()
        await kv.put("clock", b"")
        entry = await kv.entry("clock")
        return entry.stored_at if entry is not None else 0.0


def _longer(ttl: timedelta | None) -> timedelta | None:
    return None if ttl is None else ttl + _SLACK


def _is_there(error: NatsError) -> bool:
    return isinstance(error, ApiError) and error.err_code == error_codes.WRONG_LAST_SEQUENCE


__all__ = ["TERMINAL_KINDS", "StateRoom"]
