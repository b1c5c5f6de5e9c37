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
    object_bytes: int = 4 * 1024**3
    """Bytes of values that are too large for an entry; when it is full, producers are slowed
    down. The server sets them aside when the first such value is stored."""


def stream(  # noqa: PLR0917 - each is a word of the server's
    name: str, subjects: str, description: str, max_bytes: int, age: int, replicas: int
) -> StreamConfig:
    """What all streams of a tenant have in common: bounded, and read from any replica.

    Args:
        name: Its name.
        subjects: What it takes.
        description: For whoever looks at the server.
        max_bytes: Bytes at which it is full; writers are then refused.
        age: Seconds after which anything is removed.
        replicas: Copies.
    """
    return StreamConfig(
        name=name,
        subjects=[subjects],
        description=description,
        retention="limits",
        discard="new",
        max_bytes=max_bytes,
        max_age=age * SECOND,
        num_replicas=replicas,
        allow_direct=True,
    )


def once_per_subject(config: StreamConfig) -> StreamConfig:
    """The fence: a subject takes one message, and a second one is refused."""
    return msgspec.structs.replace(config, max_msgs_per_subject=1, discard_new_per_subject=True)


def log_config(names: Names, storage: Storage) -> StreamConfig:
    """The log: one message per subject, a second one is refused."""
    text = "PenguiFlow log: journal and edges of one tenant"
    base = stream(
        names.log_stream,
        names.log_subjects,
        text,
        storage.log_bytes,
        storage.log_age,
        storage.replicas,
    )
    return msgspec.structs.replace(once_per_subject(base), allow_msg_ttl=True, allow_atomic=True)


def dlq_config(names: Names, storage: Storage) -> StreamConfig:
    """The dead letters: one per entry and node, however often it is buried."""
    text = "PenguiFlow dead letters of one tenant"
    return once_per_subject(
        stream(
            names.dlq_stream,
            names.dlq_subjects,
            text,
            storage.dlq_bytes,
            storage.dlq_age,
            storage.replicas,
        )
    )


def chunk_config(names: Names, storage: Storage) -> StreamConfig:
    """What is streamed of traces: many messages per subject, the oldest give way."""
    text = "PenguiFlow chunks of one tenant"
    base = stream(
        names.chunk_stream,
        names.chunk_subjects,
        text,
        storage.chunk_bytes,
        storage.chunk_age,
        storage.replicas,
    )
    return msgspec.structs.replace(base, discard="old")


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
