"""The log of a flow on JetStream: one limits stream per tenant is journal and edge."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from penguiflow.durable.log import (
    INLINE_BYTES,
    AlreadyCommitted,
    ConsumerSpec,
    Consumption,
    EntryTooLarge,
    Key,
    LogDelivery,
    LogError,
    LogFull,
    LogUnavailable,
    Objects,
    Pattern,
    Position,
    Stored,
    Subscription,
)
from penguiflow_nats import error_codes, natspy
from penguiflow_nats.connection import Connection
from penguiflow_nats.consumers import consumer_config
from penguiflow_nats.consumption import JetStreamConsumption
from penguiflow_nats.errors import (
    ApiError,
    ConnectionClosed,
    NatsError,
    NoResponders,
    NotConnected,
    OutcomeUnknown,
    PayloadTooLarge,
)
from penguiflow_nats.group_commit import GroupCommit
from penguiflow_nats.imported import check_tenant
from penguiflow_nats.incoming import Incoming
from penguiflow_nats.jetstream import JetStream, timestamp_ns
from penguiflow_nats.listening import Listening
from penguiflow_nats.log_objects import JetStreamObjects
from penguiflow_nats.log_reading import read_newest
from penguiflow_nats.persist import persist
from penguiflow_nats.provisioning import Provision, Provisioner, provision_consumer
from penguiflow_nats.refusals import refusal_of
from penguiflow_nats.server_clock import ServerClock
from penguiflow_nats.stream_types import SECOND, StoredMessage
from penguiflow_nats.streams import Storage
from penguiflow_nats.subjects import Names
from penguiflow_nats.topology_plan import wanted_by_clients

T = TypeVar("T")

_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
_GIVE_UP = 60.0
"""Seconds for which an append whose outcome is unknown is repeated."""
_MARKER_TTL = "86400"
"""Seconds for which the markers of an ended trace refuse late submissions."""
_ADMIT_SHARE = 0.8
"""Share of the log that submissions may fill."""
_ROOM_VALID = 0.5
"""Seconds for which a look at the log's room is good."""
_FENCES = 2048
"""Bytes that the subject and the fences, which repeat a subject, take of a message at most."""
_ASK_AGAIN = (error_codes.WRONG_LAST_SEQUENCE_UNKNOWN, error_codes.UNAVAILABLE)


class JetStreamLog:
    """The log of one flow of one tenant. The promises are those of `penguiflow.durable.log.Log`.

    It does not own the connection.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        tenant: str = "default",
        flow: str,
        storage: Storage | None = None,
    ) -> None:
        check_tenant(connection, tenant)
        self.tenant = tenant
        self.system = "nats"
        self.flow = flow
        self.names = Names(tenant, flow)
        self.connection = connection
        self.jetstream = JetStream(connection)
        self.creates_bucket: bool = True  # the one for objects, when it is first needed
        bucket, creates = self.names.objects_bucket, lambda: self.creates_bucket
        self.objects: Objects = JetStreamObjects(connection, bucket, storage, may_create=creates)
        self._inline_bytes = INLINE_BYTES
        self.writes: GroupCommit = GroupCommit(self.jetstream)
        self._clock: ServerClock = ServerClock(connection, self.names.log_stream)
        self.provision: Provision = "apply"
        self._admitted = -_ROOM_VALID
        self._has_room = True
        self._max_age: int | None = None
        self._client: object = None  # whose server it is
        self._server: tuple[str, int] | None = None

    @classmethod
    async def open(
        cls,
        connection: Connection,
        *,
        tenant: str = "default",
        flow: str,
        storage: Storage | None = None,
        provision: Provision = "apply",
    ) -> JetStreamLog:
        """The log; `provision` says what is done about its streams and, later, its consumers.

        Raises:
            TopologyDrift: a stream exists with other settings, and is not to be changed here.
            TopologyMissing: there is none, and it is not to be created here.
            NatsError: the server cannot be asked.
        """
        log = cls(connection, tenant=tenant, flow=flow, storage=storage)
        log.provision = provision
        log.creates_bucket = provision == "apply"
        wanted = wanted_by_clients(log.names, storage)
        await Provisioner(log.jetstream, log.names, wanted).provision(provision)
        await log.synchronise()
        return log

    # Writing

    @property
    def inline_bytes(self) -> int:
        link = self.connection.link
        if link is not None:  # a server may allow another size after a restart
            self._inline_bytes = min(INLINE_BYTES, link.client.max_payload - _FENCES)
        return self._inline_bytes

    async def append(
        self,
        key: Key,
        data: bytes,
        *,
        after: Position | None = None,
        absent: Key | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        if key.submits:
            await self._admit()
        subject = self.names.subject(key)
        sent = self._headers(key, after, absent, headers)
        tries, give_up, writes = 0, 0.0, self.writes
        while True:
            try:
                try:
                    return (await writes.send(subject, data, sent)).seq
                finally:
                    writes.finished()
            except ApiError as error:
                if error.err_code not in _ASK_AGAIN:
                    refused = refusal_of(error, expects_absence=absent is not None)
                    if isinstance(refused, LogFull) and await self.get(key) is not None:
                        # A replicated stream that is full says so even when the key is taken.
                        refused = AlreadyCommitted(str(error))
                    raise refused from error
                problem: NatsError = error
            except (OutcomeUnknown, NoResponders) as error:
                problem = error
            except ConnectionClosed as error:
                raise LogUnavailable(str(error)) from error
            except PayloadTooLarge as error:
                raise EntryTooLarge(error.size, error.max_payload) from error
            now = time.monotonic()
            give_up = give_up or now + _GIVE_UP
            if now > give_up:
                msg = f"no answer to a write for {_GIVE_UP:.0f} s: {problem}"
                raise LogUnavailable(msg) from problem
            await self._pause(tries)
            tries += 1

    async def _admit(self) -> None:
        """Refuse submissions before the log is full: what is under way needs room to end.

        Ending a trace takes writes, and only traces that ended free room. A log that is full of
        submissions could neither go on nor empty itself.
        """
        now = time.monotonic()
        if now - self._admitted < _ROOM_VALID and self._has_room:
            return
        self._admitted = now
        info = await self._persist(lambda: self.jetstream.stream_info(self.names.log_stream))
        limit = info.config.max_bytes
        self._has_room = limit <= 0 or info.state.bytes < _ADMIT_SHARE * limit
        if not self._has_room:
            msg = (
                f"the log of tenant {self.tenant!r} holds {info.state.bytes} of {limit} bytes; "
                "submit later, start workers, or give the log more room"
            )
            raise LogFull(msg)

    def _headers(
        self,
        key: Key,
        after: Position | None,
        absent: Key | None,
        headers: Mapping[str, str] | None,
    ) -> dict[str, str] | None:
        if after is not None and not headers and not key.kind.is_marker:  # most writes
            return {_SEQUENCE: str(after.sequence), _SUBJECT: self.names.subject(after.key)}
        sent = dict(headers) if headers else {}
        if after is not None:
            sent[_SEQUENCE] = str(after.sequence)
            sent[_SUBJECT] = self.names.subject(after.key)
        elif absent is not None:
            sent[_SEQUENCE] = "0"
            sent[_SUBJECT] = self.names.subject(absent)
        if key.kind.is_marker:
            sent["Nats-TTL"] = _MARKER_TTL
        return sent or None

    async def _pause(self, tries: int) -> None:
        """Back off with jitter, and wait for the connection."""
        await asyncio.sleep(min(2.0, 0.05 * 2**tries) * (0.5 + random.random() / 2))  # noqa: S311
        if not self.connection.is_connected:
            await asyncio.sleep(0.1)

    async def purge(self, trace: str, *, upto: int | None = None) -> int:
        async def purge() -> int:
            return await self.jetstream.purge_stream(
                self.names.log_stream,
                subject=self.names.trace_filter(trace),
                below_sequence=None if upto is None else upto + 1,
            )

        return await self._persist(purge)

    async def _persist(self, action: Callable[[], Awaitable[T]]) -> T:
        """Repeat a call that is safe to repeat until it is answered, or time is up."""
        try:
            return await persist(self.connection, action, limit=_GIVE_UP)
        except (ConnectionClosed, OutcomeUnknown, NoResponders) as problem:
            raise LogUnavailable(str(problem)) from problem
        except NatsError as problem:
            raise LogError(str(problem)) from problem

    # Reading

    async def get(self, key: Key) -> Stored | None:
        subject = self.names.subject(key)
        found = await self._persist(lambda: self.jetstream.get_last(self.names.log_stream, subject))
        return None if found is None else self._stored(found)

    async def read(self, patterns: Sequence[Pattern]) -> list[Stored]:
        filters = self.names.filters(patterns)
        if not filters:
            return []
        stream = self.names.log_stream
        found = await self._persist(lambda: read_newest(self.jetstream, stream, filters))
        return sorted((self._stored(m) for m in found), key=lambda entry: entry.sequence)

    async def scan(self, after: int, limit: int) -> list[Stored]:
        """The next entries of all traces behind a sequence, in order, at most `limit`."""

        async def scan() -> list[StoredMessage]:
            return await self.jetstream.direct_get_batch(
                self.names.log_stream, after=after, subject=f"{self.names.log_root}.>", limit=limit
            )

        found = await self._persist(scan)
        return [self._stored(m) for m in found if m.subject != self.names.round]

    async def purge_below(self, sequence: int) -> int:
        """Remove every entry of the flow before a sequence but the markers; returns how many."""

        async def purge() -> int:
            return await self.jetstream.purge_stream(
                self.names.log_stream, subject=self.names.entries, below_sequence=sequence
            )

        return await self._persist(purge)

    async def claim_round(self, seconds: float) -> bool:
        """Whether this process may do a round: nobody else claimed one for so many seconds."""
        ttl = {"Nats-TTL": str(max(1, round(seconds)))}
        try:
            await self.jetstream.append(self.names.round, b"", ttl)
        except ApiError:
            return False
        except (OutcomeUnknown, NoResponders) as problem:
            raise LogUnavailable(str(problem)) from problem
        return True

    async def settled_upto(self, consumer: str) -> int:
        stream, name = self.names.log_stream, self.names.consumer(consumer)
        info = await self._persist(lambda: self.jetstream.consumer_info(stream, name))
        return info.ack_floor.stream_seq

    def _stored(self, message: StoredMessage) -> Stored:
        return Stored(
            self.names.key(message.subject),
            message.sequence,
            timestamp_ns(message.timestamp) / 1e9,
            message.data,
            message.headers or {},
        )

    # Consuming

    async def consume(
        self,
        spec: ConsumerSpec,
        deliver: Callable[[LogDelivery], None],
        *,
        window: int,
        on_gone: Callable[[str], Any],
    ) -> Consumption:
        config = consumer_config(self.names, spec, window=window)
        try:
            await provision_consumer(self.jetstream, self.names, config, self.provision)
        except ApiError as problem:
            raise LogError(str(problem)) from problem
        consumption = JetStreamConsumption(
            self.jetstream, self.names, config, deliver, window=window, on_gone=on_gone
        )
        consumption.start()
        return consumption

    # Broadcasts

    def broadcast(self, topic: str, data: bytes) -> None:
        try:
            self.connection.publish(self.names.topic(topic), data)
        except (ConnectionClosed, NotConnected):
            return  # a broadcast may be lost

    async def listen(self, topic: str, heard: Callable[[str, bytes], None]) -> Subscription:
        prefix = len(self.names.topic(""))

        def received(message: Incoming) -> None:
            heard(message.subject[prefix:], message.data)

        return self._subscribed(self.names.topic(topic), received)

    def _subscribed(self, subject: str, received: Callable[[Incoming], None]) -> Subscription:
        try:
            return Listening(self.connection.subscribe(subject, received))
        except ConnectionClosed as problem:
            raise LogUnavailable(str(problem)) from problem

    # Streaming

    async def publish_live(self, trace: str, data: bytes) -> None:
        subject = self.names.chunks(trace)
        await self._persist(lambda: self.jetstream.append(subject, data))

    async def read_live(self, trace: str) -> list[bytes]:
        found: list[bytes] = []
        after = 0
        while True:
            batch = await self._persist(
                lambda after=after: self.jetstream.direct_get_batch(  # type: ignore[misc]
                    self.names.chunk_stream,
                    after=after,
                    subject=self.names.chunks(trace),
                    limit=1000,
                )
            )
            if not batch:
                return found
            found.extend(message.data for message in batch)
            after = batch[-1].sequence

    async def listen_live(self, trace: str, heard: Callable[[bytes], None]) -> Subscription:
        def received(message: Incoming) -> None:
            heard(message.data)

        return self._subscribed(self.names.chunks(trace), received)

    async def keeps(self) -> float | None:
        if self._max_age is None:
            info = await self._persist(lambda: self.jetstream.stream_info(self.names.log_stream))
            self._max_age = info.config.max_age
        return self._max_age / SECOND or None

    def server_time(self) -> float:
        return self._clock.now()

    def server(self) -> tuple[str, int] | None:
        client = self.connection.client
        if client is not self._client:
            self._client = client
            self._server = None if client is None else natspy.server_of(client)
        return self._server

    async def synchronise(self) -> None:
        await self._clock.refresh()
