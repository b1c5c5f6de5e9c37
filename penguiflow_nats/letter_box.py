"""The dead letters of a tenant: looked at, removed, and the journal of their redrives.

pf.v1.<tenant>.dlq.<flow>.<node>.<trace>.<id>                     a letter
pf.v1.<tenant>.dlq.<flow>.redrive.<trace>.<number>.claim          a redrive, written down
pf.v1.<tenant>.dlq.<flow>.redrive.<trace>.<number>.started        which submission counts
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import msgspec

from penguiflow.durable.dead_letters import Buried, Selection
from penguiflow.durable.log import LogError, LogFull, LogUnavailable
from penguiflow.durable.redrive_journal import Unit
from penguiflow.durable.tokens import token, trace_token
from penguiflow_nats import error_codes
from penguiflow_nats.connection import Connection
from penguiflow_nats.dead_letters import read_letter
from penguiflow_nats.errors import (
    ApiError,
    ConnectionClosed,
    NatsError,
    NoResponders,
    OutcomeUnknown,
)
from penguiflow_nats.imported import check_tenant
from penguiflow_nats.jetstream import JetStream, timestamp_ns
from penguiflow_nats.persist import persist
from penguiflow_nats.stream_types import StoredMessage
from penguiflow_nats.subjects import Names

T = TypeVar("T")

_AT_ONCE = 200
"""Letters asked for in one request."""
_FULL = (error_codes.MAXIMUM_REACHED, error_codes.INSUFFICIENT_RESOURCES)
_GIVE_UP = 30.0
"""Seconds for which a call of a server that is away is repeated."""


class _Claim(msgspec.Struct, array_like=True, frozen=True):
    """A unit on the wire."""

    v: int
    letters: list[str]
    new_trace: str
    entry: bytes
    by: str


class _Started(msgspec.Struct, array_like=True, frozen=True):
    """Which submission of a unit counts, on the wire."""

    v: int
    sequence: int


_claim = msgspec.msgpack.Decoder(_Claim).decode
_started = msgspec.msgpack.Decoder(_Started).decode


class LetterBox:
    """The dead letters of all flows of a tenant. It does not own the connection.

    Every method raises `LogError` when the server refuses or does not answer.
    """

    def __init__(self, connection: Connection, *, tenant: str = "default") -> None:
        check_tenant(connection, tenant)
        names = Names(tenant, "any")
        self.stream = names.dlq_stream
        self._root = f"{names.root}.dlq"
        self._connection = connection
        self._jetstream = JetStream(connection)

    async def scan(self, selection: Selection | None = None) -> AsyncIterator[Buried]:
        """The letters that are meant, the oldest first. Few are held at a time."""
        selection = selection or Selection()
        flow = selection.flow or "*"
        node = "*" if selection.node is None else token(selection.node)
        trace = "*" if selection.trace is None else trace_token(selection.trace)
        subject = f"{self._root}.{flow}.{node}.{trace}.*"
        after = 0
        while True:
            found = await self._persist(
                lambda after=after: self._jetstream.direct_get_batch(  # type: ignore[misc]
                    self.stream, after=after, subject=subject, limit=_AT_ONCE
                )
            )
            for message in found:
                _, _, _, _, name, _, _, identity = message.subject.split(".")
                written = timestamp_ns(message.timestamp) / 1e9
                letter = read_letter(message.data)
                buried = Buried(identity, name, message.sequence, written, letter)
                if selection.holds(buried):
                    yield buried
            if not found:
                return
            after = found[-1].sequence

    async def remove(self, buried: Buried) -> bool:
        """Remove a letter; False when it is not there any more."""
        message = await self._persist(
            lambda: self._jetstream.get_message(self.stream, buried.sequence)
        )
        if message is None or not message.subject.endswith(f".{buried.id}"):
            return False
        try:
            await self._persist(
                lambda: self._jetstream.delete_message(self.stream, buried.sequence)
            )
        except LogError:
            left = await self._persist(
                lambda: self._jetstream.get_message(self.stream, buried.sequence)
            )
            if left is not None:
                raise
        return True

    # The journal

    async def units(self, flow: str, trace: str) -> list[Unit]:
        """The redrives of a trace, in the order of their numbers."""
        root = f"{self._root}.{flow}.redrive.{trace}"
        info = await self._persist(
            lambda: self._jetstream.stream_info(self.stream, subjects_filter=f"{root}.*.claim")
        )
        numbers = sorted(int(s.split(".")[-2]) for s in info.state.subjects or ())
        return [await self._unit(root, trace, number) for number in numbers]

    async def _unit(self, root: str, trace: str, number: int) -> Unit:
        claim = await self._last(f"{root}.{number}.claim")
        if claim is None:
            msg = f"the redrive {number} of trace {trace} was removed while it was read"
            raise LogError(msg)
        started = await self._last(f"{root}.{number}.started")
        found = _claim(claim.data)
        return Unit(
            trace=trace,
            number=number,
            letters=tuple(found.letters),
            new_trace=found.new_trace,
            entry=found.entry,
            by=found.by,
            at=timestamp_ns(claim.timestamp) / 1e9,
            started=0 if started is None else _started(started.data).sequence,
        )

    async def claim(self, flow: str, unit: Unit) -> bool:
        """Write the unit down; False when its number is taken by another one."""
        subject = f"{self._root}.{flow}.redrive.{unit.trace}.{unit.number}.claim"
        wire = _Claim(1, list(unit.letters), unit.new_trace, unit.entry, unit.by)
        data = msgspec.msgpack.encode(wire)
        if await self._append(subject, data):
            return True
        there = await self._last(subject)
        return there is not None and there.data == data

    async def start(self, flow: str, unit: Unit, sequence: int) -> int:
        """Write down which submission counts, once; returns the one that does."""
        subject = f"{self._root}.{flow}.redrive.{unit.trace}.{unit.number}.started"
        if await self._append(subject, msgspec.msgpack.encode(_Started(1, sequence))):
            return sequence
        there = await self._last(subject)
        if there is None:
            msg = f"{subject} is refused as taken, and is not there; look at stream {self.stream}"
            raise LogError(msg)
        return _started(there.data).sequence

    async def _last(self, subject: str) -> StoredMessage | None:
        return await self._persist(lambda: self._jetstream.get_last(self.stream, subject))

    async def _append(self, subject: str, data: bytes) -> bool:
        """Write once; False when the subject is taken, perhaps by an earlier try of ours."""

        async def write() -> bool:
            try:
                await self._jetstream.append(subject, data)
            except ApiError as error:
                if error_codes.SUBJECT_TAKEN_TEXT in error.description:
                    return False
                if error.err_code in _FULL:
                    msg = f"stream {self.stream} is full; drop letters that nobody needs: {error}"
                    raise LogFull(msg) from error
                raise
            return True

        return await self._persist(write)

    async def _persist(self, action: Callable[[], Awaitable[T]]) -> T:
        try:
            return await persist(self._connection, action, limit=_GIVE_UP)
        except NatsError as error:
            raise _log_error(error) from error


def _log_error(error: NatsError) -> LogError:
    if isinstance(error, ConnectionClosed | OutcomeUnknown | NoResponders):
        return LogUnavailable(str(error))
    return LogError(str(error))


__all__ = ["LetterBox"]
