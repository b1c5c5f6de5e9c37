"""State as bytes: JSON where JSON says it all, else the value codec. Pure.

    {"trace_id": ...}   JSON, which `nats kv get` shows
    C1 ...              the codec that also packs the values between nodes
    C2 ...              an object that serialised itself, with the name of its class

JSON is used only for what comes back as it went in: dicts with text keys, lists, text, finite
numbers, true, false, null. No JSON starts with the other two bytes.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.tokens import derive
from penguiflow.durable.typemap import TypeMap, type_name
from penguiflow.durable.wire_errors import MalformedValue, NotEncodable
from penguiflow.state.copies import Serialisable
from penguiflow.state.records import StoredEvent
from penguiflow.state.tasks import StateUpdate, SteeringEvent, TaskStateModel

M = TypeVar("M", bound=BaseModel)

_CODED, _SERIALISED = b"\xc1", b"\xc2"
_ATOMS = frozenset((str, bool, type(None)))
_NUMBERS, _CONTAINERS, _KEYS = frozenset((int, float)), frozenset((dict, list)), frozenset((str,))
_EXACT_INT = 2**53
_DEEPEST = 64

_write_json = msgspec.json.Encoder().encode
_write_sorted = msgspec.json.Encoder(order="sorted").encode
_read_json = msgspec.json.Decoder().decode
_read_event = msgspec.json.Decoder(StoredEvent).decode
_codec = ValueCodec(TypeMap((StoredEvent, StateUpdate, SteeringEvent, TaskStateModel)))


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether JSON gives the value back as it is."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind in _NUMBERS:
        return math.isfinite(value) if kind is float else -_EXACT_INT < value < _EXACT_INT
    if depth > _DEEPEST or kind not in _CONTAINERS:
        return False
    items = value
    if kind is dict:
        if not _KEYS.issuperset(map(type, value)):
            return False
        items = value.values()
    # Most items are text or None, and every event comes through here: no call for those.
    return not any(type(each) not in _ATOMS and not is_plain(each, depth + 1) for each in items)


def pack(value: Any) -> bytes:
    """The bytes of a value.

    Raises:
        NotEncodable: It holds something that cannot travel between processes.
    """
    if is_plain(value):
        try:
            return _write_json(value)
        except UnicodeEncodeError:  # a lone surrogate; the codec knows a way
            pass
    return _CODED + _codec.pack(value)


def unpack(data: bytes) -> Any:
    """The value again.

    Raises:
        MalformedValue: The bytes are no value, or of a type that is not known here.
    """
    if data[:1] == _CODED:
        return _codec.unpack(data[1:])
    try:
        return _read_json(data)
    except msgspec.DecodeError as error:
        msg = f"malformed state: {error}"
        raise MalformedValue(msg) from error


def pack_model(model: BaseModel) -> bytes:
    """The bytes of a model: its JSON, if that reads back as the same.

    Raises:
        NotEncodable: It does not, and the model cannot travel in another way.
    """
    try:
        data = model.model_dump_json().encode()
        if type(model).model_validate_json(data) == model:
            return data
    except ValueError:  # no JSON, or JSON that the model refuses
        pass
    return _CODED + _codec.pack(model)


def unpack_model(kind: type[M], data: bytes) -> M:
    """The model again.

    Raises:
        MalformedValue: As `unpack`.
    """
    if data[:1] == _CODED:
        model: M = _codec.unpack(data[1:])
        return model
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        msg = f"malformed {kind.__name__}: {error}"
        raise MalformedValue(msg) from error


def pack_opaque(value: Any) -> bytes:
    """The bytes of a trajectory or planner event, in its own way if it has one.

    Raises:
        NotEncodable: It has none, and cannot travel between processes.
    """
    if isinstance(value, Serialisable) and not isinstance(value, type):
        return _SERIALISED + _codec.pack([type_name(type(value)), value.serialise()])
    return pack(value)


def unpack_opaque(data: bytes) -> Any:
    """The value again; where its class is not loaded, what it serialised itself to.

    Raises:
        MalformedValue: As `unpack`.
    """
    if data[:1] != _SERIALISED:
        return unpack(data)
    name, content = _codec.unpack(data[1:])
    kind = _loaded_class(name)
    return content if kind is None else kind.from_serialised(content)


def _loaded_class(name: str) -> Any:
    """The class of this name, without importing anything to find it."""
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found if isinstance(found, type) and isinstance(found, Serialisable) else None


def pack_event(event: StoredEvent) -> bytes:
    """The bytes of an event. An odd value in its payload is no reason to lose it: it is kept as
    its `repr`."""
    if is_plain(event.payload):
        try:
            return _write_json(event)
        except UnicodeEncodeError:
            pass
    try:
        return _CODED + _codec.pack(event)
    except (NotEncodable, RecursionError):
        return _CODED + _codec.pack(replace(event, payload=_described(event.payload)))


def unpack_event(data: bytes) -> StoredEvent:
    """The event again.

    Raises:
        MalformedValue: As `unpack`.
    """
    if data[:1] == _CODED:
        event: StoredEvent = _codec.unpack(data[1:])
        return event
    try:
        return _read_event(data)
    except msgspec.DecodeError as error:
        msg = f"malformed event: {error}"
        raise MalformedValue(msg) from error


def event_identity(event: StoredEvent) -> str | None:
    """What an event without an id is known by: what it says. None if it has an id."""
    if event.event_id is not None:
        return None
    payload = _content(event.payload)
    parts = (event.ts, event.kind, event.node_name, event.node_id, event.seq)
    return derive("event", *(repr(each) for each in parts), payload.hex())


def _content(payload: dict[str, Any]) -> bytes:
    if is_plain(payload):
        try:
            return _write_sorted(payload)
        except UnicodeEncodeError:
            pass
    try:
        return _codec.pack(payload)
    except (NotEncodable, RecursionError):
        return repr(_described(payload)).encode("utf-8", "backslashreplace")


def _described(payload: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for key, value in payload.items():
        try:
            _codec.pack(value)
        except (NotEncodable, RecursionError):
            described[str(key)] = repr(value)[:4096]
        else:
            described[str(key)] = value
    return described


__all__ = [
    "event_identity",
    "is_plain",
    "pack",
    "pack_event",
    "pack_model",
    "pack_opaque",
    "unpack",
    "unpack_event",
    "unpack_model",
    "unpack_opaque",
]
