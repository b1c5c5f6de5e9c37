"""The tenant's dead letters in a stream."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import msgspec

from penguiflow.durable.dead_letters import DeadLetter, Reason
from penguiflow.durable.log import Key, Kind, LogError, LogFull, LogUnavailable, Stored
from penguiflow.durable.tokens import derive, token
from penguiflow_nats import error_codes
from penguiflow_nats.errors import (
    ApiError,
    NatsError,
    NoResponders,
    OutcomeUnknown,
    PayloadTooLarge,
)
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.persist import persist
from penguiflow_nats.stream_types import StoredMessage
from penguiflow_nats.streams import Storage, dlq_config, ensure

_GIVE_UP = 60.0


class _Letter(msgspec.Struct, array_like=True, frozen=True):
    """A dead letter on the wire."""

    v: int
    kind: str
    trace: str
    node_part: str
    input: str
    sequence: int
    timestamp: float
    data: bytes
    headers: dict[str, str]
    node: str
    reason: str
    detail: str
    deliveries: int
    worker: str


_decode = msgspec.msgpack.Decoder(_Letter).decode


class NatsDeadLetters:
    """The dead letters of one flow of one tenant."""

    def __init__(self, log: JetStreamLog) -> None:
        self._names = log.names
        self._jetstream: JetStream = log.jetstream

    @classmethod
    async def open(cls, log: JetStreamLog, *, storage: Storage | None = None) -> NatsDeadLetters:
        """The dead letters, with their stream created if it is missing."""
        letters = cls(log)
        await ensure(log.jetstream, dlq_config(log.names, storage or Storage()))
        return letters

    async def bury(self, letter: DeadLetter) -> None:
        key = letter.stored.key
        identity = derive(key.kind.value, key.trace, key.node, key.input)
        subject = self._names.dead_letter(key, token(letter.node), identity)
        data = msgspec.msgpack.encode(_wire(letter))
        give_up = time.monotonic() + _GIVE_UP
        while True:
            try:
                await self._jetstream.append(subject, data)
                return
            except ApiError as error:
                if error_codes.SUBJECT_TAKEN_TEXT in error.description:
                    return  # buried before
                if error.err_code in (
                    error_codes.MAXIMUM_REACHED,
                    error_codes.INSUFFICIENT_RESOURCES,
                ):
                    raise LogFull(str(error)) from error
                raise LogError(str(error)) from error
            except PayloadTooLarge:
                if not letter.stored.data:
                    raise
                # What cannot be buried would come again for ever.
                letter = _without_data(letter)
                data = msgspec.msgpack.encode(_wire(letter))
                continue
            except (OutcomeUnknown, NoResponders) as error:
                if time.monotonic() > give_up:
                    raise LogUnavailable(str(error)) from error
            await asyncio.sleep(0.2)

    async def letters(self, *, limit: int = 1000) -> list[DeadLetter]:
        try:
            found = await persist(self._jetstream.connection, self._read_all, limit=_GIVE_UP)
        except (OutcomeUnknown, NoResponders) as problem:
            raise LogUnavailable(str(problem)) from problem
        found.sort(key=lambda message: message.sequence)
        return [read_letter(message.data) for message in found[:limit]]

    async def _read_all(self) -> list[StoredMessage]:
        stream, wanted = self._names.dlq_stream, await self._subjects()
        found: list[StoredMessage] = []
        for start in range(0, len(wanted), 512):
            part = wanted[start : start + 512]
            found.extend(await self._jetstream.direct_get_many(stream, part))
        return found

    async def traces(self) -> frozenset[str]:
        try:
            found = await persist(self._jetstream.connection, self._subjects, limit=_GIVE_UP)
            return frozenset(subject.split(".")[-2] for subject in found)
        except (OutcomeUnknown, NoResponders) as error:
            raise LogUnavailable(str(error)) from error
        except NatsError as error:
            raise LogError(str(error)) from error

    async def _subjects(self) -> list[str]:
        subjects = f"{self._names.root}.dlq.{self._names.flow}.*.*.*"
        info = await self._jetstream.stream_info(self._names.dlq_stream, subjects_filter=subjects)
        return list(info.state.subjects or ())


def _without_data(letter: DeadLetter) -> DeadLetter:
    stored = Stored(letter.stored.key, letter.stored.sequence, letter.stored.timestamp, b"")
    text = f"{letter.detail[:2048]} ({len(letter.stored.data)} bytes, too large to be kept)"
    return dataclasses.replace(letter, stored=stored, detail=text)


def _wire(letter: DeadLetter) -> _Letter:
    stored, key = letter.stored, letter.stored.key
    return _Letter(
        v=1,
        kind=key.kind.value,
        trace=key.trace,
        node_part=key.node,
        input=key.input,
        sequence=stored.sequence,
        timestamp=stored.timestamp,
        data=stored.data,
        headers=dict(stored.headers),
        node=letter.node,
        reason=letter.reason.value,
        detail=letter.detail[:4096],
        deliveries=letter.deliveries,
        worker=letter.worker,
    )


def read_letter(data: bytes) -> DeadLetter:
    """The letter behind the bytes in the stream."""
    found = _decode(data)
    key = Key(Kind(found.kind), found.trace, found.node_part, found.input)
    stored = Stored(key, found.sequence, found.timestamp, found.data, found.headers)
    return DeadLetter(
        stored, found.node, Reason(found.reason), found.detail, found.deliveries, found.worker
    )
