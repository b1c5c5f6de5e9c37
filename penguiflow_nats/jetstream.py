"""The few JetStream API calls that this package needs, typed, over `Connection.request`."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from penguiflow_nats import error_codes
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ApiError, TooManyResults
from penguiflow_nats.incoming import Reply
from penguiflow_nats.protocol import parse_headers
from penguiflow_nats.stream_types import (
    AccountInfo,
    ConsumerConfig,
    ConsumerInfo,
    PubAck,
    StoredMessage,
    StreamConfig,
    StreamInfo,
)

A = TypeVar("A")


class _ErrorBody(msgspec.Struct, frozen=True, gc=False):
    code: int = 500
    err_code: int = 0
    description: str = ""


class _Error(msgspec.Struct, frozen=True, gc=False):
    error: _ErrorBody | None = None


class _Receipt(PubAck, frozen=True, gc=False):
    error: _ErrorBody | None = None


class _Stored(msgspec.Struct, frozen=True):
    subject: str
    seq: int
    time: str
    data: bytes = b""
    hdrs: bytes = b""


class _StoredAnswer(msgspec.Struct, frozen=True):
    message: _Stored


class _Purged(msgspec.Struct, frozen=True):
    purged: int = 0


class _Names(msgspec.Struct, frozen=True):
    total: int = 0
    streams: list[str] | None = None
    consumers: list[str] | None = None


_decode_error = msgspec.json.Decoder(_Error).decode
_decode_receipt = msgspec.json.Decoder(_Receipt).decode


def _raise(body: _ErrorBody) -> None:
    raise ApiError(body.code, body.err_code, body.description)


def decode_receipt(reply: Reply) -> PubAck:
    """Read the answer to a write into a stream.

    Raises:
        ApiError: The stream refused the message.
    """
    receipt = _decode_receipt(reply.data)
    if receipt.error is not None:
        _raise(receipt.error)
    return receipt


class JetStream:
    """JetStream of the connection's account.

    Every method raises `ApiError` when the server refuses, `NoResponders` when JetStream does not
    answer for the account, `OutcomeUnknown` when no answer came, `PermissionDenied` when the user
    may not ask.
    """

    def __init__(self, connection: Connection, *, prefix: str = "$JS.API") -> None:
        """Use a connection.

        Args:
            connection: The connection.
            prefix: First tokens of the API's subjects; another one for an imported account.
        """
        self.connection = connection
        self.prefix = prefix

    async def _call(self, kind: type[A], action: str, body: Any = None) -> A:
        payload = b"" if body is None else msgspec.json.encode(body)
        reply = await self.connection.request(f"{self.prefix}.{action}", payload)
        error = _decode_error(reply.data).error
        if error is not None:
            _raise(error)
        return msgspec.json.decode(reply.data, type=kind)

    # Streams

    async def create_stream(self, config: StreamConfig) -> StreamInfo:
        """Create a stream. One that exists with this very configuration is left as it is."""
        return await self._call(StreamInfo, f"STREAM.CREATE.{config.name}", config)

    async def update_stream(self, config: StreamConfig) -> StreamInfo:
        """Give an existing stream this configuration."""
        return await self._call(StreamInfo, f"STREAM.UPDATE.{config.name}", config)

    async def stream_info(self, stream: str, *, subjects_filter: str | None = None) -> StreamInfo:
        """Describe a stream.

        Args:
            stream: Its name.
            subjects_filter: Also count the messages of the subjects that match, into
                `state.subjects`; asked for page by page.
        """
        action = f"STREAM.INFO.{stream}"
        if subjects_filter is None:
            return await self._call(StreamInfo, action)
        subjects: dict[str, int] = {}
        while True:
            page = {"subjects_filter": subjects_filter, "offset": len(subjects)}
            info = await self._call(StreamInfo, action, page)
            found = info.state.subjects or {}
            subjects |= found
            if not found or len(subjects) >= info.total:
                state = msgspec.structs.replace(info.state, subjects=subjects)
                return msgspec.structs.replace(info, state=state)

    async def stream_names(self, *, subject: str | None = None) -> list[str]:
        """Names of the account's streams, or of those that take `subject`."""
        body: dict[str, Any] = {} if subject is None else {"subject": subject}
        names: list[str] = []
        while True:
            page = await self._call(_Names, "STREAM.NAMES", {**body, "offset": len(names)})
            names += page.streams or []
            if not page.streams or len(names) >= page.total:
                return names

    async def delete_stream(self, stream: str) -> None:
        """Delete a stream and everything in it."""
        await self._call(_Error, f"STREAM.DELETE.{stream}")

    async def purge_stream(
        self,
        stream: str,
        *,
        subject: str | None = None,
        below_sequence: int | None = None,
        keep: int | None = None,
    ) -> int:
        """Remove messages.

        Args:
            stream: Name of the stream.
            subject: Only those of the subjects that match.
            below_sequence: Only those with a smaller sequence; not together with `keep`.
            keep: All but this many of the newest.

        Returns:
            How many were removed.
        """
        body: dict[str, Any] = {}
        if subject is not None:
            body["filter"] = subject
        if below_sequence is not None:
            body["seq"] = below_sequence
        if keep is not None:
            body["keep"] = keep
        return (await self._call(_Purged, f"STREAM.PURGE.{stream}", body)).purged

    async def delete_message(self, stream: str, sequence: int, *, erase: bool = False) -> None:
        """Remove one message; `erase` also overwrites its bytes on the disk."""
        body = {"seq": sequence, "no_erase": not erase}
        await self._call(_Error, f"STREAM.MSG.DELETE.{stream}", body)

    # Consumers

    async def create_consumer(
        self, stream: str, config: ConsumerConfig, *, action: str = ""
    ) -> ConsumerInfo:
        """Create a consumer, or give an existing one this configuration.

        Args:
            stream: Name of the stream.
            config: The configuration; it must name the consumer.
            action: "create" refuses an existing one, "update" a missing one.
        """
        name = config.durable_name or config.name
        if not name:
            msg = "the consumer needs a name"
            raise ValueError(msg)
        body: dict[str, Any] = {"stream_name": stream, "config": config}
        if action:
            body["action"] = action
        return await self._call(ConsumerInfo, f"CONSUMER.CREATE.{stream}.{name}", body)

    async def consumer_info(self, stream: str, consumer: str) -> ConsumerInfo:
        """Describe a consumer."""
        return await self._call(ConsumerInfo, f"CONSUMER.INFO.{stream}.{consumer}")

    async def consumer_names(self, stream: str) -> list[str]:
        """Names of the consumers of a stream."""
        names: list[str] = []
        while True:
            body = {"offset": len(names)}
            page = await self._call(_Names, f"CONSUMER.NAMES.{stream}", body)
            names += page.consumers or []
            if not page.consumers or len(names) >= page.total:
                return names

    async def delete_consumer(self, stream: str, consumer: str) -> None:
        """Delete a consumer."""
        await self._call(_Error, f"CONSUMER.DELETE.{stream}.{consumer}")

    async def pause_consumer(self, stream: str, consumer: str, until: datetime | None) -> None:
        """Deliver nothing until a moment (with a time zone); None resumes at once."""
        body = {} if until is None else {"pause_until": until.astimezone(UTC).isoformat()}
        await self._call(_Error, f"CONSUMER.PAUSE.{stream}.{consumer}", body)

    # Messages

    def append(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> asyncio.Future[PubAck]:
        """Store a message in whichever stream takes the subject. Sends at once, never waits.

        Args:
            subject: Where to.
            payload: Message body.
            headers: Message headers, among them id and fences.
            timeout: Seconds to wait for the receipt.

        Returns:
            A future of the receipt. It fails with `ApiError` when the stream refuses, with
            `NoResponders` when no stream takes the subject, and as `Connection.request` does.
        """
        return self.connection.request(
            subject, payload, headers, timeout=timeout, decode=decode_receipt
        )

    async def get_message(self, stream: str, sequence: int) -> StoredMessage | None:
        """Read a message from the leader; None if there is none with this sequence."""
        return await self._get(stream, {"seq": sequence})

    async def get_last(self, stream: str, subject: str) -> StoredMessage | None:
        """Read the newest message of a subject from the leader; None if there is none.

        The leader's answer includes every write that was acknowledged before.
        """
        return await self._get(stream, {"last_by_subj": subject})

    async def _get(self, stream: str, body: dict[str, Any]) -> StoredMessage | None:
        try:
            answer = await self._call(_StoredAnswer, f"STREAM.MSG.GET.{stream}", body)
        except ApiError as error:
            if error.err_code == error_codes.MESSAGE_NOT_FOUND:
                return None
            raise
        found = answer.message
        return StoredMessage(
            subject=found.subject,
            sequence=found.seq,
            data=found.data,
            headers=(parse_headers(found.hdrs) or None) if found.hdrs else None,
            timestamp=found.time,
        )

    async def direct_get_last(self, stream: str, subject: str) -> StoredMessage | None:
        """Read the newest message of a subject from any replica; None if there is none.

        Faster than `get_last`, but a replica may lag behind a write that was acknowledged.
        The stream must have `allow_direct`.
        """
        reply = await self.connection.request(
            f"{self.prefix}.DIRECT.GET.{stream}", msgspec.json.encode({"last_by_subj": subject})
        )
        return _direct(stream, reply)

    async def direct_get_many(
        self,
        stream: str,
        subjects: Sequence[str],
        *,
        up_to_sequence: int | None = None,
        timeout: float | None = None,
    ) -> list[StoredMessage]:
        """Read the newest message of each subject that matches, from any replica.

        Args:
            stream: Name of the stream; it must have `allow_direct`.
            subjects: Subjects, possibly with wildcards.
            up_to_sequence: Read as of this sequence.
            timeout: Longest silence between two answers in seconds.

        Raises:
            TooManyResults: More than 1,024 subjects match.
        """
        body: dict[str, Any] = {"multi_last": list(subjects)}
        if up_to_sequence is not None:
            body["up_to_seq"] = up_to_sequence
        found: list[StoredMessage] = []

        def receive(reply: Reply) -> bool:
            message = _direct(stream, reply)
            if message is not None:
                found.append(message)
            return message is None

        await self.connection.request_many(
            f"{self.prefix}.DIRECT.GET.{stream}",
            msgspec.json.encode(body),
            receive=receive,
            timeout=timeout,
        )
        return found

    async def direct_get_batch(
        self, stream: str, *, after: int, subject: str, limit: int
    ) -> list[StoredMessage]:
        """Read the next messages behind a sequence, in order, from any replica.

        Args:
            stream: Name of the stream; it must have `allow_direct`.
            after: Only messages with a larger sequence.
            subject: Only those of the subjects that match.
            limit: At most this many.
        """
        body = {"seq": after + 1, "next_by_subj": subject, "batch": limit}
        found: list[StoredMessage] = []

        def receive(reply: Reply) -> bool:
            message = _direct(stream, reply)
            if message is not None:
                found.append(message)
            return message is None

        await self.connection.request_many(
            f"{self.prefix}.DIRECT.GET.{stream}", msgspec.json.encode(body), receive=receive
        )
        return found

    async def account_info(self) -> AccountInfo:
        """What the account uses of JetStream."""
        return await self._call(AccountInfo, "INFO")


_ADDED = ("Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp")
_ADDED_MANY = (*_ADDED, "Nats-Num-Pending", "Nats-Last-Sequence", "Nats-UpTo-Sequence")


def _direct(stream: str, reply: Reply) -> StoredMessage | None:
    """Read a direct-get answer; None for "nothing there" and for the end of several."""
    headers = dict(reply.headers or {})
    if "Nats-Stream" not in headers or "Nats-Subject" not in headers:
        status, description = reply.status_line()
        if status == 413:
            raise TooManyResults(stream)
        if status in (204, 404):
            return None
        raise ApiError(status or 500, 0, description or "not a direct-get answer")
    subject, sequence = headers["Nats-Subject"], int(headers["Nats-Sequence"])
    timestamp = headers["Nats-Time-Stamp"]
    for name in _ADDED_MANY:
        headers.pop(name, None)
    return StoredMessage(
        subject=subject,
        sequence=sequence,
        data=reply.data,
        headers=headers or None,
        timestamp=timestamp,
    )


def timestamp_ns(timestamp: str) -> int:
    """Turn the server's RFC 3339 time into nanoseconds since 1970."""
    moment, _, fraction = timestamp.rstrip("Z").partition(".")
    whole = int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp())
    return whole * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))


__all__ = ["JetStream", "decode_receipt", "timestamp_ns"]
