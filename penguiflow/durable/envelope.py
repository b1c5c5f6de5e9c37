"""The envelope: what one entry of the log holds. Field by field in `docs/envelope.md`.

The structs are arrays on the wire. They change only by new fields at the end, with defaults: an
older reader skips what it does not know, a newer one fills in what is missing. Anything else, a
new outcome included, takes a new `VERSION`.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from penguiflow.durable import weight as share
from penguiflow.durable.wire_errors import (
    EnvelopeTooNew,
    MalformedEnvelope,
    NotEncodable,
    WireError,
)

VERSION: Final = 1
WITH_CLAIMS: Final = 2
"""The version of an envelope of which a part lies in objects: an older reader must not take it."""
_READ: Final = frozenset((VERSION, WITH_CLAIMS))

OK: Final = "ok"
"""The node returned; `outputs` are what it emitted."""
FAILED: Final = "failed"
"""The node used up its attempts; `error` says why."""
CANCELLED: Final = "cancelled"
"""The trace was cancelled before this input was processed."""
EXPIRED: Final = "expired"
"""The deadline passed; the outputs are the answer to that."""
DEAD: Final = "dead"
"""The input could not be processed at all; `error` says why."""
OUTCOMES: Final = frozenset((OK, FAILED, CANCELLED, EXPIRED, DEAD))

EGRESS: Final = "@egress"
"""The target that is not a node: the way out of the flow."""

VALUE: Final = 0
"""`Output.kind`: any value, packed by the codec."""
MESSAGE: Final = 1
"""`Output.kind`: a `Message`; its own fields lie beside the packed payload."""

MAX_BYTES: Final = 64 * 1024 * 1024
"""No server takes more in one message."""
MAX_VALUE_BYTES: Final = MAX_BYTES - 1024 * 1024
"""Bytes that one value of a flow may have, unless its workers and clients say less."""
MAX_TEXT: Final = 4096
"""Characters of any one name or id."""
MAX_DEPTH: Final = 32
"""Containers inside each other in `error`."""

NONE: Final = Raw(b"\xc0")
"""The packed None, for a field that holds packed data and is not used."""


class Output(Struct, array_like=True, frozen=True):
    """One value that a node emitted."""

    payload: Raw
    """The value, packed by `ValueCodec`; of a `Message`, its payload."""
    targets: tuple[str, ...]
    """Names of the nodes it is for, or `EGRESS`."""
    kind: int = VALUE
    trace_id: str = ""
    """The `Message`'s own trace id; of any other value, the trace that it was emitted in."""
    # The rest belongs to kind MESSAGE.
    tenant: str = ""
    topic: str | None = None
    priority: int = 0
    ts: float = 0.0
    deadline_s: float | None = None
    """An instant of the log's clock, whatever the clocks of clients and workers say."""
    meta: Raw = NONE
    """The packed `meta`. msgspec reads no `Raw | None`, so unused is a packed None."""
    # Of any kind again.
    due: float | None = None
    """When it is delivered, by the log's clock; at once when None. In a timer without targets:
    when the join's time is over."""


class Part(Struct, array_like=True, frozen=True):
    """Some of a record's outputs, in an object."""

    name: str
    """The object: a msgpack array of `Output`."""
    size: int
    """Bytes of the object."""
    first: int
    """Number of the first of these outputs among all of the record."""
    count: int
    """How many outputs there are."""
    targets: int
    """How many targets they have together."""
    leaves: bool
    """Whether one of them is for the egress."""


class Envelope(Struct, array_like=True, frozen=True, kw_only=True):
    """What became of one input, or what a client submitted."""

    v: int = VERSION
    tenant: str
    flow: str
    trace: str
    """The user's trace id, verbatim."""
    node: str = ""
    """Who produced this; empty for an ingress."""
    input: str = ""
    """The id of the input that this answers; for an ingress, of the submission."""
    outcome: str = OK
    outputs: tuple[Output, ...] = ()
    expanded: bool = False
    """Whether the outputs are written as entries of their own."""
    weight: str = share.WHOLE
    """The share of the submission that the input carries (`penguiflow.durable.weight`)."""
    client: str = ""
    """Token of the client that submitted, for hints."""
    error: dict[str, Any] | None = None
    """`FlowError.to_payload()`. What cannot travel in it is replaced by its `repr`."""
    worker: str = ""
    attempt: int = 0
    """How many attempts were made before the one that ended so."""
    delivered: int = 0
    """How often the log had delivered the input."""
    started: float = 0.0
    """When the attempt started, seconds since the epoch."""
    duration: float = 0.0
    """Seconds that the attempt took."""
    submitted: float = 0.0
    """When the submission was made, seconds since the epoch by the client's clock."""
    budget: float | None = None
    """Not used; earlier versions wrote it. What counts is each output's `deadline_s`."""
    traceparent: str | None = None
    tracestate: str | None = None
    parts: tuple[Part, ...] = ()
    """The first outputs of an expanded record, where they are too many for one message."""


class _Probe(Struct, array_like=True, frozen=True):
    v: int


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Envelope)
_PROBE = msgspec.msgpack.Decoder(_Probe)
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def encode(envelope: Envelope) -> bytes:
    """The bytes of an envelope.

    Raises:
        NotEncodable: a reader would refuse it: a name is no Unicode or too long, the whole is too
            large, a number is none.
    """
    if envelope.error is not None:
        plain = _plain(envelope.error, 0)
        envelope = msgspec.structs.replace(envelope, error=plain)
    try:
        data = _ENCODER.encode(envelope)
    except (TypeError, OverflowError, UnicodeEncodeError) as exc:
        raise _unwritable(str(exc)) from exc
    reason = _objection(envelope, len(data))
    if reason is not None:
        raise _unwritable(reason)
    return data


def decode(data: bytes) -> Envelope:
    """The envelope behind the bytes.

    Raises:
        MalformedEnvelope: the bytes are no envelope.
        EnvelopeTooNew: a later version wrote them.
    """
    if len(data) > MAX_BYTES:
        raise MalformedEnvelope(_too_large(len(data)))
    try:
        envelope = _DECODER.decode(data)
    except _BROKEN as exc:
        raise _refusal(data, exc) from exc
    if envelope.v != VERSION and envelope.v not in _READ:
        raise _version_refused(envelope.v)
    reason = _objection(envelope, len(data))
    if reason is not None:
        raise MalformedEnvelope(reason)
    return envelope


def _unwritable(reason: str) -> NotEncodable:
    return NotEncodable("a field of the envelope", reason)


def _too_large(size: int) -> str:
    return f"{size} bytes exceed the limit of {MAX_BYTES}"


def _refusal(data: bytes, exc: Exception) -> WireError:
    """Why the bytes could not be read: a later version may have changed everything but `v`."""
    try:
        version = _PROBE.decode(data).v
    except _BROKEN:
        version = VERSION
    if version not in _READ:
        return _version_refused(version)
    if isinstance(exc, RecursionError):
        return MalformedEnvelope("nested too deeply")
    return MalformedEnvelope(str(exc))


def _version_refused(version: int) -> WireError:
    if version > WITH_CLAIMS:
        return EnvelopeTooNew(version, WITH_CLAIMS)
    return MalformedEnvelope(f"version {version} does not exist")


def _objection(envelope: Envelope, size: int) -> str | None:
    """What a writer must not write and a reader does not accept, or None."""
    if size > MAX_TEXT:  # else no text in it can be longer
        reason = _oversized(envelope, size)
        if reason is not None:
            return reason
    if envelope.outcome not in OUTCOMES:
        return f"unknown outcome {envelope.outcome[:40]!r}"
    if envelope.attempt < 0 or envelope.delivered < 0:
        return "a count is negative"
    for output in envelope.outputs:
        if output.kind not in _KINDS:
            return f"unknown kind {output.kind} of an output"
    if envelope.error is not None and _deeper(envelope.error, MAX_DEPTH):
        return "error is nested too deeply"
    return _bad_number(envelope)


def _oversized(envelope: Envelope, size: int) -> str | None:
    if size > MAX_BYTES:
        return _too_large(size)
    for name in _TEXT_FIELDS:
        text = getattr(envelope, name)
        if text is not None and len(text) > MAX_TEXT:
            return f"{name} is longer than {MAX_TEXT} characters"
    return None


def _bad_number(envelope: Envelope) -> str | None:
    if not math.isfinite(envelope.started + envelope.duration + envelope.submitted):
        return "a time is no number"
    if envelope.budget is not None and math.isnan(envelope.budget):
        return "budget is no number"
    if envelope.parts and min(min(p.count, p.targets, p.first + 1) for p in envelope.parts) < 1:
        return "a part without outputs"
    if envelope.weight == share.WHOLE:
        return None
    try:
        # A join of several submissions carries more than one; nothing carries nothing.
        empty = share.parse(envelope.weight) == 0
    except ValueError as exc:
        return str(exc)
    return "a weight of 0" if empty else None


_KINDS = frozenset((VALUE, MESSAGE))
_TEXT_FIELDS = (
    "tenant",
    "flow",
    "trace",
    "node",
    "input",
    "weight",
    "client",
    "worker",
    "traceparent",
    "tracestate",
)


def _deeper(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        return levels == 0 or any(_deeper(item, levels - 1) for item in value.values())
    if isinstance(value, list | tuple):
        return levels == 0 or any(_deeper(item, levels - 1) for item in value)
    return False


def _plain(value: Any, depth: int) -> Any:
    """An error's payload as plain data: an error must never be lost because of its details."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return int(value)
    if depth < MAX_DEPTH:
        if isinstance(value, dict):
            return {readable(key): _plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [_plain(item, depth + 1) for item in value]
    return readable(value)


def readable(value: Any) -> str:
    """A value as text that always travels, whatever the value is."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception:  # noqa: BLE001 - a foreign `__repr__` must not cost us the error
        text = f"<{type(value).__name__}>"
    return text.encode("utf-8", "backslashreplace").decode()


__all__ = [
    "CANCELLED",
    "DEAD",
    "EGRESS",
    "EXPIRED",
    "FAILED",
    "MESSAGE",
    "OK",
    "OUTCOMES",
    "VALUE",
    "VERSION",
    "WITH_CLAIMS",
    "Envelope",
    "EnvelopeTooNew",
    "MalformedEnvelope",
    "Output",
    "Part",
    "decode",
    "encode",
]
