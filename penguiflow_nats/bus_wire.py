"""What the bus sends: an envelope as bytes, its subject, its stream. Pure.

    pf.v1.<tenant>.bus.<source>.<target>.<trace>.<message id>

"=" stands for None. A subject holds one message: the same id again is refused, for as long as the
message is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from penguiflow.bus import BusEnvelope
from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.tokens import token
from penguiflow.durable.wire_errors import MalformedValue
from penguiflow_nats.state_keys import ANY, part, part_or_any
from penguiflow_nats.stream_types import SECOND, StreamConfig
from penguiflow_nats.subjects import PREFIX

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BusStorage:
    """How much the stream of a bus holds and how safely."""

    replicas: int = 1
    """Copies: 3 in production."""
    max_bytes: int = 1024**3
    """Bytes at which publishing is refused."""
    max_age: timedelta = timedelta(days=1)
    """Age at which a message goes, delivered or not."""


@dataclass(frozen=True, slots=True)
class BusMessage:
    """An envelope with what it lacks."""

    envelope: BusEnvelope
    message_id: str
    """The identity of the publication: equal envelopes with different ids are two."""
    tenant: str
    sent_at: float
    """Unix seconds by the sender's clock."""


def stream_name(tenant: str) -> str:
    """The stream of a tenant's bus."""
    return f"PF_{token(tenant)}_BUS"


def stream_config(tenant: str, storage: BusStorage) -> StreamConfig:
    """The stream: a message per subject, and a second one is refused."""
    return StreamConfig(
        name=stream_name(tenant),
        subjects=[f"{PREFIX}.{token(tenant)}.bus.>"],
        description="PenguiFlow message bus of one tenant",
        discard="new",
        max_msgs_per_subject=1,
        discard_new_per_subject=True,
        max_bytes=storage.max_bytes,
        max_age=round(storage.max_age.total_seconds() * SECOND),
        num_replicas=storage.replicas,
        allow_direct=True,
    )


def subject_of(message: BusMessage) -> str:
    """Where a message goes."""
    envelope = message.envelope
    edge = f"{part(envelope.source)}.{part(envelope.target)}"
    own = f"{part(envelope.trace_id)}.{token(message.message_id)}"
    return f"{PREFIX}.{token(message.tenant)}.bus.{edge}.{own}"


def filter_of(tenant: str, *, source: str | None = None, target: str | None = None) -> str:
    """The subjects of the messages from and to these nodes; None matches all."""
    edge = f"{part_or_any(source)}.{part_or_any(target)}"
    return f"{PREFIX}.{token(tenant)}.bus.{edge}.{ANY}.{ANY}"


def pack_message(message: BusMessage, codec: ValueCodec) -> bytes:
    """The bytes of a message.

    Raises:
        NotEncodable: Its payload, headers or meta cannot travel between processes.
    """
    envelope = message.envelope
    fields: dict[str, Any] = {
        "v": VERSION,
        "id": message.message_id,
        "tenant": message.tenant,
        "sent_at": message.sent_at,
        "edge": envelope.edge,
        "source": envelope.source,
        "target": envelope.target,
        "trace_id": envelope.trace_id,
        "payload": envelope.payload,
        "headers": None if envelope.headers is None else dict(envelope.headers),
        "meta": None if envelope.meta is None else dict(envelope.meta),
    }
    return codec.pack(fields, "envelope")


def unpack_message(data: bytes, codec: ValueCodec) -> BusMessage:
    """The message again.

    Raises:
        MalformedValue: The bytes are no message, of a later version, or of an unknown type.
    """
    fields = codec.unpack(data)
    if not isinstance(fields, dict) or fields.get("v") != VERSION:
        msg = "not a bus message of a version that is known here"
        raise MalformedValue(msg)
    try:
        names = ("edge", "source", "target", "trace_id", "payload", "headers", "meta")
        envelope = BusEnvelope(*(fields[name] for name in names))
        return BusMessage(envelope, fields["id"], fields["tenant"], fields["sent_at"])
    except KeyError as error:
        msg = f"a bus message without {error}"
        raise MalformedValue(msg) from error


__all__ = [
    "BusMessage",
    "BusStorage",
    "filter_of",
    "pack_message",
    "stream_config",
    "stream_name",
    "subject_of",
    "unpack_message",
]
