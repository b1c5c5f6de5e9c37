"""Hints: a committed result told at once to the client that waits for it.

A hint is a broadcast, so it may be lost; the truth is in the log, and a client that hears nothing
looks there. It is sent after the commit only, so whatever it carries is committed.
"""

from __future__ import annotations

import msgspec

from penguiflow.durable.delivery import DurableDelivery
from penguiflow.durable.envelope import Output
from penguiflow.durable.log import Key, Kind, Log, Stored

_INLINE = 64 * 1024
"""Bytes up to which a hint carries the entry itself."""
_TURN_BITS = 20
"""Room for the runs within one delivery."""


class Hint(msgspec.Struct, array_like=True, frozen=True):
    """Which entry was committed, and the entry unless it is large."""

    kind: str
    node: str
    input: str
    sequence: int
    timestamp: float
    data: bytes


class ChunkHint(msgspec.Struct, array_like=True, frozen=True):
    """A streamed chunk: who emits it, in which run, and the chunk."""

    node: str
    input: str
    attempt: int
    """Which run of the node on this input: a later one has a higher number, also when no attempt
    was counted because the earlier one was handed back."""
    number: int
    """Counts the chunks of one run, over all its streams, from 0."""
    output: Output


_encoder = msgspec.msgpack.Encoder()
_hint = msgspec.msgpack.Decoder(Hint)
_chunk = msgspec.msgpack.Decoder(ChunkHint)


def topic(client: str, trace: str) -> str:
    """Where the hints of a trace go; either part may be `*` for a listener."""
    return f"hint.{client or 'anybody'}.{trace}"


def send(log: Log, client: str, stored: Stored) -> None:
    """Tell the client that this entry holds a result, or ends a part of its trace."""
    data = stored.data if len(stored.data) <= _INLINE else b""
    key = stored.key
    hint = Hint(key.kind.value, key.node, key.input, stored.sequence, stored.timestamp, data)
    log.broadcast(topic(client, key.trace), _encoder.encode(hint))


def chunk_of(delivery: DurableDelivery, number: int, output: Output) -> bytes:
    """A chunk as it is streamed: with what tells a repetition from a new one."""
    return _encoder.encode(
        ChunkHint(
            delivery.record_key.node,
            delivery.input_id,
            (delivery.log_delivery.num_delivered << _TURN_BITS) + delivery.turn,
            number,
            output,
        )
    )


def read(trace: str, data: bytes) -> Stored | None:
    """The entry of a hint; without data when it has to be read from the log. None if malformed."""
    try:
        hint = _hint.decode(data)
        key = Key(Kind(hint.kind), trace, hint.node, hint.input)
    except (msgspec.DecodeError, ValueError):
        return None
    return Stored(key, hint.sequence, hint.timestamp, hint.data)


def read_chunk(data: bytes) -> ChunkHint | None:
    """The chunk of a hint, or None if it is malformed."""
    try:
        return _chunk.decode(data)
    except msgspec.DecodeError:
        return None
