"""The log: journal and edge at once, as a broker-free protocol.

A node's result is committed by one append. The append holds under two conditions: nobody has
written this key yet, and the input it answers is still in the log. Successors consume the
committed entries themselves, so there is nothing to publish after a commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import msgspec


class Kind(StrEnum):
    """What an entry is; the first token of its key."""

    INGRESS = "in"
    """A message that a client submitted."""
    RECORD = "rec"
    """The committed result of one node for one input."""
    OUTPUT = "out"
    """One of several outputs of a record, written from it, addressed to one node."""
    TIMER = "timer"
    """A submission or an output that is delivered at its time, or the timeout of a join."""
    NOTE = "note"
    """How an attempt or a delivery of an input ended that was delivered again."""
    LOST = "lost"
    """The marker that a branch of the trace ended without a result."""
    CANCEL = "cancel"
    """The marker that somebody wants the trace cancelled; it outlives the other entries."""
    END = "end"
    """The marker that closes a trace; it outlives the trace's other entries."""

    is_marker: bool
    """Whether there is one such entry per trace, that a purge leaves."""


for _kind in Kind:
    _kind.is_marker = _kind in (Kind.LOST, Kind.CANCEL, Kind.END)


_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Key(msgspec.Struct, frozen=True, gc=False):
    """The identity of an entry. It never holds an attempt, a time or a worker.

    Every part is a token of `[A-Za-z0-9_-]{1,64}` (see `penguiflow.durable.tokens`).
    """

    kind: Kind
    trace: str
    node: str = ""
    """For `RECORD` the node that ran, for `OUTPUT` and its `TIMER` the node it is addressed to,
    else empty."""
    input: str = ""
    """The id of the input that was processed, or of the submission; empty for markers."""

    @property
    def submits(self) -> bool:
        """Whether a client wrote it to submit something, now or for later."""
        return self.kind is Kind.INGRESS or (self.kind is Kind.TIMER and not self.node)


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where an entry lies. The sequence is a place, not an identity: only a fence uses it."""

    key: Key
    sequence: int


class Stored(msgspec.Struct, frozen=True):
    """An entry as the log holds it."""

    key: Key
    sequence: int
    timestamp: float
    """When the log took the entry: seconds since the epoch by the log's own clock."""
    data: bytes
    headers: Mapping[str, str] = _NO_HEADERS
    """What was appended beside the data; a delivery may leave it out."""

    @property
    def position(self) -> Position:
        return Position(self.key, self.sequence)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A set of keys. `None` matches every value of that part."""

    kind: Kind | None = None
    trace: str | None = None
    node: str | None = None
    input: str | None = None


INLINE_BYTES: Final = 512 * 1024
"""Bytes beyond which data goes into objects, also where a message would carry it."""


class LogError(Exception):
    """Base of what an append or a read can answer."""


class AlreadyCommitted(LogError):
    """The key is taken: this result, or another worker's, is the committed one."""


class InputGone(LogError):
    """The input (`after`) is no longer in the log: its trace was cancelled or removed."""


class TraceEnded(LogError):
    """The entry that had to be absent (`absent`) exists: the trace was ended."""


class LogFull(LogError):
    """The log has no room. Nothing was written; hand the input back and try later."""


class EntryTooLarge(LogError):
    """The entry exceeds what the log carries in one message. Nothing was written."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"entry of {size} bytes exceeds the limit of {limit} bytes")
        self.size = size
        self.limit = limit


class LogUnavailable(LogError):
    """The outcome of an append stayed unknown for the whole time allowed; repeat it with the
    same key."""


class LogDelivery(Protocol):
    """One entry handed to one consumer, to be settled once."""

    stored: Stored
    num_delivered: int
    """How often the log has handed this entry to this consumer, this time included (from 1)."""

    async def ack(self) -> None:
        """Settle for good, after everything that the entry led to is in the log.

        It may be lost, and then the entry is delivered again: whoever gets it finds what is in
        the log, and settles it anew.

        Raises:
            LogUnavailable: it was not taken; a redelivery follows.
        """

    async def nak(self, delay: float = 0.0) -> None:
        """Hand back; the log delivers again after `delay` seconds, to any worker."""

    async def term(self, reason: str) -> None:
        """Settle for good as not processable."""

    def in_progress(self) -> None:
        """Renew the lease. Sent without confirmation: it proves nothing about ownership."""


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """A named, durable, shared place in the log. Workers with the same name share the work."""

    name: str
    patterns: Sequence[Pattern]
    lease: float = 15.0
    """Seconds without ack or `in_progress` until an entry is delivered to somebody else."""
    max_ack_pending: int = 8192
    metadata: Mapping[str, str] = field(default_factory=dict)


class Backlog(NamedTuple):
    """Entries of one consumer that are not settled."""

    pending: int
    """In nobody's hands."""
    in_hand: int
    """In the hands of some worker, or waiting for another try."""


class Consumption(Protocol):
    """A running pull of one consumer: at most `window` entries asked for or in hand."""

    def release(self) -> None:
        """One delivery was settled: its place in the window is free again."""

    def pause(self) -> None:
        """Ask for nothing more; what is in hand stays in hand."""

    async def stop(self) -> None:
        """Stop asking, hand back what arrives from now on. Idempotent."""

    async def backlog(self) -> Backlog:
        """What the consumer, shared by all workers, has to do.

        Raises:
            LogUnavailable: the log does not answer.
        """


class Subscription(Protocol):
    """A live subscription to broadcasts."""

    async def unsubscribe(self) -> None:
        """Idempotent."""


class Objects(Protocol):
    """Where values lie that are too large for an entry: by name, each written once with a content
    that its name tells. One store for all flows of a tenant."""

    async def put(self, name: str, data: bytes) -> None:
        """Keep an object; it is there for every reader when this returns.

        It is kept for at least as long as an entry of the log can be, from now on, unless
        `remove_strays` takes it. An object that is there already is taken for the same.

        Raises:
            LogFull: no room; nothing was kept.
            LogUnavailable: the outcome stayed unknown; repeat it.
        """

    async def get(self, name: str) -> bytes | None:
        """The object; None when it is gone or damaged.

        Raises:
            LogUnavailable: no answer.
        """

    async def remove_strays(self, is_wanted: Callable[[str], bool], *, before: float) -> int:
        """Remove objects that nobody wants.

        Args:
            is_wanted: Whether the object of this name stays.
            before: Only what was last put before, by the log's clock.

        Returns:
            How many went.

        Raises:
            LogError: no answer.
        """


class Log(Protocol):
    """Journal and edge of one flow of one tenant.

    Guarantees: entries of one log are totally ordered by sequence; an entry that was appended is
    never changed; a key is written at most once while its trace is in the log.
    """

    tenant: str
    flow: str
    system: str
    """What keeps it, as OpenTelemetry's `messaging.system` names it."""
    objects: Objects

    @property
    def inline_bytes(self) -> int:
        """Bytes of data that an entry takes for certain; what is larger goes into objects."""

    async def append(
        self,
        key: Key,
        data: bytes,
        *,
        after: Position | None = None,
        absent: Key | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Write one entry and return its sequence. Repeats by itself while the outcome is unknown.

        Args:
            after: The entry must still be at this sequence (the input that is answered).
            absent: The entry must not exist (the end marker of the trace). Not with `after`.

        Raises:
            AlreadyCommitted: the key is taken, perhaps by an earlier try of this very call.
            InputGone, TraceEnded, LogFull, EntryTooLarge, LogUnavailable: as named.
        """

    async def get(self, key: Key) -> Stored | None:
        """The entry of this key, or None. Reads what the latest append made visible."""

    async def read(self, patterns: Sequence[Pattern]) -> list[Stored]:
        """Every entry that matches one of the patterns, by sequence."""

    async def scan(self, after: int, limit: int) -> list[Stored]:
        """The next entries of all traces behind a sequence, in order, at most `limit`; none when
        there are none yet."""

    async def settled_upto(self, consumer: str) -> int:
        """A sequence up to which a durable consumer has settled everything; 0 when it has nothing
        settled, or is not there."""

    async def consume(
        self,
        spec: ConsumerSpec,
        deliver: Callable[[LogDelivery], None],
        *,
        window: int,
        on_gone: Callable[[str], Any],
    ) -> Consumption:
        """Create or join the durable consumer and start to deliver.

        `deliver` is called in the event loop and must not block. `on_gone(reason)` is called when
        the consumer was deleted or changed by somebody else.
        """

    async def purge(self, trace: str, *, upto: int | None = None) -> int:
        """Remove the entries of the trace but its markers; returns how many.

        Args:
            trace: The trace.
            upto: Only entries up to this sequence.
        """

    def broadcast(self, topic: str, data: bytes) -> None:
        """Tell everybody who listens now. At most once, for speed only, never for correctness."""

    async def listen(self, topic: str, heard: Callable[[str, bytes], None]) -> Subscription:
        """Hear broadcasts. `topic` is dot separated; a token may be `*`.

        `heard(topic, data)` is called in the event loop and must not block.
        """

    async def publish_live(self, trace: str, data: bytes) -> None:
        """Add to what is streamed of a trace, and tell `listen_live`; in order, at least once.

        Kept for a while only. Repeats by itself, so a reader must know a repetition by its data.

        Raises:
            LogError: it could not be kept.
        """

    async def read_live(self, trace: str) -> list[bytes]:
        """What was streamed of a trace so far, in order."""

    async def listen_live(self, trace: str, heard: Callable[[bytes], None]) -> Subscription:
        """Hear what is streamed of a trace from now on; may miss some (see `read_live`)."""

    async def keeps(self) -> float | None:
        """Seconds for which an entry is kept at most, whatever becomes of it; None without limit.

        Raises:
            LogError: the log does not answer.
        """

    def server_time(self) -> float:
        """The log's clock now, seconds since the epoch; the estimate of a remote clock, which this
        machine's clock does not disturb when it is wrong or jumps."""

    def server(self) -> tuple[str, int] | None:
        """Host and port of the server that is used now, the same object for each connection; None
        when there is none, or the log is in this process."""

    async def synchronise(self) -> None:
        """Renew the estimate behind `server_time` when it is old; without an answer it stays."""
