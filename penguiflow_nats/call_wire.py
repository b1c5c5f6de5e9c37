"""What travels between callers and agents, field by field in `docs/remote-calls.md`. Pure.

The structs are arrays on the wire. They change only by new fields at the end, with defaults.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from penguiflow.durable.envelope import MAX_BYTES, MAX_TEXT, NONE, Output
from penguiflow.durable.wire_errors import EnvelopeTooNew, MalformedEnvelope, NotEncodable

VERSION: Final = 1

START: Final = "start"
"""`TaskRecord.kind`: a replica began to work; events of earlier epochs are void."""
CONTINUED: Final = "continued"
"""`TaskRecord.state` of a start: events of earlier epochs that lie before it stay, and the numbers
go on."""
END: Final = "end"
"""`TaskRecord.kind`: the task is over; `state` says how."""
ASK: Final = "ask"
"""`TaskRecord.kind`: the task waits for its caller; `state` says for what."""
ANSWER: Final = "answer"
"""`TaskRecord.kind`: the caller answered what was asked."""

COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
REJECTED: Final = "rejected"
ENDS: Final = frozenset((COMPLETED, FAILED, CANCELLED, REJECTED))

INPUT_REQUIRED: Final = "input-required"
AUTH_REQUIRED: Final = "auth-required"
PAUSES: Final = frozenset((INPUT_REQUIRED, AUTH_REQUIRED))

_STATES: Final = {END: ENDS, ASK: PAUSES, ANSWER: PAUSES}

EVERYTHING: Final = -1
"""`TaskRecord.events` of an end that nobody can or needs to count."""


class CallRequest(Struct, array_like=True, frozen=True, kw_only=True):
    """One task for one agent."""

    v: int = VERSION
    tenant: str
    agent: str
    task: str
    """The task id, verbatim."""
    skill: str
    message: Output
    """The message, as in the envelope of a durable flow."""
    streaming: bool = True
    """Whether the caller wants the answer piece by piece."""
    context_id: str | None = None
    metadata: Raw = NONE
    """What the caller says beside the message's own meta, packed; None when nothing."""
    budget: float | None = None
    """Seconds from the moment the server stored the request to the deadline."""
    submitted: float = 0.0
    """When the request was made, seconds since the epoch by the caller's clock; for people."""
    caller: str = ""
    idempotency_key: str = ""
    traceparent: str | None = None
    tracestate: str | None = None


class Piece(Struct, array_like=True, frozen=True, gc=False):
    """One event of a streamed answer."""

    text: str
    done: bool = False
    meta: Raw = NONE
    """More about it, packed."""


class ReplyEvents(Struct, array_like=True, frozen=True):
    """Events of a streamed answer that follow each other."""

    v: int
    epoch: int
    n: int
    """The number of the first one; numbers count from 0 in each epoch, without a gap."""
    pieces: list[Piece]


class TaskRecord(Struct, array_like=True, frozen=True, kw_only=True):
    """Where a task stands: a start, a question, its answer, or the end."""

    v: int = VERSION
    kind: str
    epoch: int
    agent: str = ""
    instance: str = ""
    """Which replica wrote it; empty for a caller."""
    skill: str = ""
    context_id: str | None = None
    # The rest belongs to an end; the next three to a question and an answer as well.
    state: str = ""
    result: Raw = NONE
    """The result, packed; a `Question` or a `Reply` of `call_questions`."""
    events: int = 0
    """How many events the epoch has; `EVERYTHING` when those that came are all that count."""
    error: tuple[str, str] | None = None
    """(code, message) of an end without a result."""
    retain: float = 0.0
    """Seconds for which the task is kept after its end."""
    duration: float = 0.0
    """Seconds that the epoch took."""

    @property
    def is_end(self) -> bool:
        """Whether the task is over."""
        return self.kind == END


_encode = msgspec.msgpack.Encoder().encode
W = TypeVar("W", CallRequest, ReplyEvents, TaskRecord)
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Probe(Struct, array_like=True, frozen=True):
    v: int


_probe = msgspec.msgpack.Decoder(_Probe).decode


def encode(value: CallRequest | ReplyEvents | TaskRecord) -> bytes:
    """The bytes of a struct.

    Raises:
        NotEncodable: a text is no Unicode.
    """
    try:
        return _encode(value)
    except (UnicodeEncodeError, OverflowError) as error:
        raise NotEncodable(type(value).__name__, str(error)) from error


def _reader(kind: type[W], objection: Callable[[Any], str | None]) -> Callable[[bytes], W]:
    decode = msgspec.msgpack.Decoder(kind).decode

    def read(data: bytes) -> W:
        if len(data) > MAX_BYTES:
            msg = f"{len(data)} bytes exceed the limit of {MAX_BYTES}"
            raise MalformedEnvelope(msg)
        try:
            value = decode(data)
        except _BROKEN as error:
            _refuse_newer(data)
            raise MalformedEnvelope(str(error)) from error
        if value.v != VERSION:
            _refuse_newer(data)
            msg = f"version {value.v} does not exist"
            raise MalformedEnvelope(msg)
        reason = objection(value)
        if reason is not None:
            raise MalformedEnvelope(reason)
        return value

    return read


def _refuse_newer(data: bytes) -> None:
    try:
        version = _probe(data).v
    except _BROKEN:
        return
    if version > VERSION:
        raise EnvelopeTooNew(version, VERSION)


def _about_request(request: CallRequest) -> str | None:
    for name in ("tenant", "agent", "task", "skill", "caller", "idempotency_key"):
        if len(getattr(request, name)) > MAX_TEXT:
            return f"{name} is longer than {MAX_TEXT} characters"
    if request.budget is not None and not math.isfinite(request.budget):
        return "budget is no number"
    return None


def _about_events(events: ReplyEvents) -> str | None:
    return "a number is negative" if events.epoch < 0 or events.n < 0 else None


def _about_record(record: TaskRecord) -> str | None:
    if record.kind != START and record.kind not in _STATES:
        return f"unknown kind {record.kind[:40]!r}"
    if record.kind != START and record.state not in _STATES[record.kind]:
        return f"unknown state {record.state[:40]!r}"
    if not math.isfinite(record.retain + record.duration):
        return "a time is no number"
    return "an epoch is negative" if record.epoch < 0 else None


read_request = _reader(CallRequest, _about_request)
read_events = _reader(ReplyEvents, _about_events)
read_record = _reader(TaskRecord, _about_record)
"""The struct behind the bytes.

Raises:
    MalformedEnvelope: the bytes are none.
    EnvelopeTooNew: a later version wrote them.
"""
