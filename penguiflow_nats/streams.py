"""The streams of a tenant: their configuration, and making sure that they are there."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from penguiflow_nats import error_codes
from penguiflow_nats.errors import ApiError, PermissionDenied
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.stream_types import SECOND, StreamConfig
from penguiflow_nats.subjects import Names

DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """How much the streams of a tenant hold and how safely."""

    replicas: int = 1
    """Copies of each stream: 3 in production."""
    log_bytes: int = 1024**3
    """Bytes of the log; when it is full, producers are slowed down."""
    log_age: int = 7 * DAY
    """Seconds after which an entry is removed in any case. A net, not a policy: it must exceed the
    longest trace, since it removes what nobody has processed as well."""
    dlq_bytes: int = 256 * 1024**2
    dlq_age: int = 30 * DAY
    chunk_bytes: int = 256 * 1024**2
    chunk_age: int = 3600
    """Seconds for which streamed chunks can be read again; the oldest go first when it is full."""


def log_config(names: Names, storage: Storage) -> StreamConfig:
    """The log: one message per subject, a second one is refused."""
    return StreamConfig(
        name=names.log_stream,
        subjects=[names.log_subjects],
        description="PenguiFlow log: journal and edges of one tenant",
        retention="limits",
        discard="new",
        max_msgs_per_subject=1,
        discard_new_per_subject=True,
        max_bytes=storage.log_bytes,
        max_age=storage.log_age * SECOND,
        num_replicas=storage.replicas,
        allow_direct=True,
        allow_msg_ttl=True,
        allow_atomic=True,
    )


def dlq_config(names: Names, storage: Storage) -> StreamConfig:
    """The dead letters: one per entry and node, however often it is buried."""
    return StreamConfig(
        name=names.dlq_stream,
        subjects=[names.dlq_subjects],
        description="PenguiFlow dead letters of one tenant",
        retention="limits",
        discard="new",
        max_msgs_per_subject=1,
        discard_new_per_subject=True,
        max_bytes=storage.dlq_bytes,
        max_age=storage.dlq_age * SECOND,
        num_replicas=storage.replicas,
        allow_direct=True,
    )


def chunk_config(names: Names, storage: Storage) -> StreamConfig:
    """What is streamed of traces: many messages per subject, the oldest give way."""
    return StreamConfig(
        name=names.chunk_stream,
        subjects=[names.chunk_subjects],
        description="PenguiFlow chunks of one tenant",
        retention="limits",
        discard="old",
        max_bytes=storage.chunk_bytes,
        max_age=storage.chunk_age * SECOND,
        num_replicas=storage.replicas,
        allow_direct=True,
    )


class StreamDrift(RuntimeError):
    """A stream exists with settings under which the promise does not hold."""


_ESSENTIAL = ("discard", "max_msgs_per_subject", "discard_new_per_subject", "retention")


async def ensure(jetstream: JetStream, config: StreamConfig) -> None:
    """Create the stream; leave one that exists as it is, if it keeps the promise.

    Raises:
        StreamDrift: it exists and an essential setting is different.
        ApiError: the server refused.
    """
    try:
        await jetstream.create_stream(config)
    except PermissionDenied:
        pass  # who may not create it can still see whether it is there, and right
    except ApiError as error:
        if error.err_code != error_codes.STREAM_NAME_IN_USE:
            raise
    existing = (await jetstream.stream_info(config.name)).config
    for name in _ESSENTIAL:
        found, wanted = getattr(existing, name), getattr(config, name)
        if found != wanted:
            msg = (
                f"stream {config.name} has {name}={found!r}, needed is {wanted!r}; "
                "correct it, or remove the stream when nothing in it is needed"
            )
            raise StreamDrift(msg)


def encoded(config: StreamConfig) -> bytes:
    """The configuration as the server reads it."""
    return msgspec.json.encode(config)
