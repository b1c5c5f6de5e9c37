"""The two streams of a tenant's calls."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from penguiflow_nats.call_subjects import CallNames
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.stream_types import Republish, StreamConfig
from penguiflow_nats.streams import DAY, StreamDrift, ensure, once_per_subject, stream


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStorage:
    """How much the streams of calls hold and how safely."""

    replicas: int = 1
    """Copies of each stream: 3 in production."""
    calls_bytes: int = 256 * 1024**2
    replies_bytes: int = 1024**3
    """Bytes of states and events; when it is full, agents are slowed down."""
    age: int = DAY
    """Seconds after which anything is removed: a net under tasks that never end. It must exceed
    the longest task and its retention."""


def calls_config(names: CallNames, storage: CallStorage) -> StreamConfig:
    """The requests: one message per task, a second one is refused."""
    text = "PenguiFlow requests to agents of one tenant"
    return once_per_subject(
        stream(
            names.calls_stream,
            names.calls,
            text,
            storage.calls_bytes,
            storage.age,
            storage.replicas,
        )
    )


def replies_config(names: CallNames, storage: CallStorage) -> StreamConfig:
    """What agents answer. Whatever is stored is told at once on the subjects of news, so that a
    caller hears committed messages only, and in the order of the stream."""
    text = "PenguiFlow answers of agents of one tenant"
    base = stream(
        names.replies_stream,
        names.replies,
        text,
        storage.replies_bytes,
        storage.age,
        storage.replicas,
    )
    news = Republish(src=names.replies, dest=names.news)
    return msgspec.structs.replace(base, republish=news)


async def ensure_call_streams(
    jetstream: JetStream, names: CallNames, storage: CallStorage | None = None
) -> None:
    """Create the streams; leave those that exist as they are, if they keep the promise.

    Raises:
        StreamDrift: one exists and an essential setting is different.
        ApiError: the server refused.
    """
    chosen = storage or CallStorage()
    await ensure(jetstream, calls_config(names, chosen))
    replies = replies_config(names, chosen)
    await ensure(jetstream, replies)
    found = (await jetstream.stream_info(replies.name)).config.republish
    if found != replies.republish:
        msg = (
            f"stream {replies.name} has republish={found!r}, needed is {replies.republish!r}; "
            "correct it, or remove the stream when no task in it is needed"
        )
        raise StreamDrift(msg)
