"""The value codec: what cannot travel is refused where it is sent, and rubbish where it arrives."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import sys
from typing import Any

import msgspec
import pytest

from penguiflow.durable import extension
from penguiflow.durable.codec import (
    MalformedValue,
    NotEncodable,
    TypeMap,
    UnknownType,
    ValueCodec,
    ValueTooLarge,
)
from penguiflow.durable.envelope import MAX_BYTES
from penguiflow.types import Headers, Message
from tests.unit.codec_types import (
    Base,
    Demanding,
    Doubling,
    Frozen,
    Holder,
    LocalTimezone,
    Needy,
    Open,
    Other,
    Pair,
    Patch,
    Plain,
    Point,
    SubError,
    Text,
    Untyped,
)

ext = msgspec.msgpack.Ext
raw = msgspec.msgpack.encode
codec = ValueCodec()
TYPES = Base.__module__
HEADERS = Headers(tenant="acme")
SUB_ERROR = SubError(trace_id=None, node_name=None, code="", message="")
DAMAGED = Frozen(x=1)
object.__delattr__(DAMAGED, "x")
ODD = Open()
setattr(ODD, "\ud800", 1)
LOCAL_TIME = dt.datetime(2020, 1, 1, tzinfo=LocalTimezone())


def trip(value: Any) -> Any:
    return codec.unpack(codec.pack(value))


@pytest.mark.parametrize(
    ("value", "path", "type_name", "hint"),
    [
        (object(), "payload", "object", "pydantic model"),
        ({"items": [0, 1, 2, object()]}, "payload.items[3]", "object", "dataclass"),
        ({"a b": {1: object()}}, "payload['a b'][1]", "object", ""),
        ((1, {2: [object()]}), "payload[1][2][0]", "object", ""),
        ({(1, 2): object()}, "payload[(1, 2)]", "object", ""),
        (Holder(one=Base(), anything=[lambda: 0]), "payload.anything[0]", "function", ""),
        (Point(Plain(print)), "payload.x.x", "builtin_function_or_method", ""),
        (Message(payload=object(), headers=HEADERS), "payload.payload", "object", ""),
        (bytearray(b"x"), "payload", "bytearray", "use bytes"),
        (memoryview(b"x"), "payload", "memoryview", "use bytes"),
        (Text("x"), "payload", f"{TYPES}:Text", "plain builtin"),
        (Pair(1), "payload", f"{TYPES}:Pair", "plain builtin"),
        (collections.Counter("a"), "payload", "collections:Counter", "plain builtin"),
        (ValueError("x"), "payload", "ValueError", "raise it"),
        (SUB_ERROR, "payload", f"{TYPES}:SubError", "FlowError"),
        (Needy(1), "payload", f"{TYPES}:Needy", "['seed']"),
        (Other(1), "payload", f"{TYPES}:Other", "['everything', 'x', 'y']"),
        (DAMAGED, "payload", f"{TYPES}:Frozen", "was deleted"),
        (Patch(1, c=msgspec.UNSET), "payload.c", "msgspec:UnsetType", ""),
        (ODD, "payload", "the name of a field", "surrogates"),
        (Base, "payload", "pydantic._internal._model_construction:ModelMetaclass", ""),
        (1j, "payload", "complex", ""),
        (LOCAL_TIME, "payload.tzinfo", "LocalTimezone", "zoneinfo"),
    ],
)  # fmt: skip
def test_not_encodable(value: Any, path: str, type_name: str, hint: str) -> None:
    with pytest.raises(NotEncodable) as caught:
        codec.pack(value, "payload")
    error = caught.value
    assert (error.path, error.type_name) == (path, type_name)
    assert hint in error.hint
    assert str(error) == f"{path}: {type_name} cannot travel between processes; {error.hint}"


def test_a_class_that_cannot_be_found_by_its_name_is_refused_where_it_is_sent() -> None:
    @dataclasses.dataclass
    class Local:
        x: int = 1

    with pytest.raises(NotEncodable, match="top level of a module"):
        codec.pack(Local())
    known = ValueCodec(TypeMap([Local]))
    assert known.unpack(known.pack(Local())) == Local()


def test_two_classes_of_one_full_name_are_refused() -> None:
    def make() -> type:
        @dataclasses.dataclass
        class Local:
            x: int = 1

        return Local

    one, two = make(), make()
    both = ValueCodec(TypeMap([one, two]))
    for kind in (one, two):
        with pytest.raises(NotEncodable, match="does not lead back to it"):
            both.pack(kind())
    with pytest.raises(UnknownType, match="several types of that name"):
        both.unpack(ValueCodec(TypeMap([one])).pack(one()))


def nested(levels: int, wrap: Any) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


WRAPS = [
    lambda v: [v], lambda v: (v,), lambda v: {"k": v}, lambda v: {(1,): v},
    lambda v: frozenset({v}), lambda v: Untyped(field=v), lambda v: Frozen(x=v), Plain,
]  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_hundred_levels_travel_and_not_one_more(wrap: Any) -> None:
    value = nested(99, wrap)
    assert trip(value) == value
    with pytest.raises(NotEncodable, match="more than 100 lie inside each other"):
        codec.pack(nested(102, wrap))


def test_a_value_that_holds_itself_is_refused_with_a_short_path() -> None:
    value: list[Any] = []
    value.append({"self": value})
    with pytest.raises(NotEncodable, match="or one holds itself") as caught:
        codec.pack(value)
    assert len(str(caught.value)) < 400
    model = Untyped()
    model.field = model
    with pytest.raises(NotEncodable, match="or one holds itself"):
        codec.pack(model)


def test_a_value_that_is_too_large_is_refused() -> None:
    small = ValueCodec(max_bytes=100)
    assert small.pack("x" * 90)
    with pytest.raises(ValueTooLarge, match="its 103 bytes exceed the limit of 100"):
        small.pack("x" * 101)


@pytest.mark.parametrize("limit", [0, -1, MAX_BYTES + 1])
def test_a_limit_that_no_reader_would_keep_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="max_bytes must be from 1"):
        ValueCodec(max_bytes=limit)


# ---- bytes that are no value


def named(code: int, *parts: Any) -> bytes:
    return raw(ext(code, raw(list(parts))))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated"),
        (b"\xc1", "invalid opcode"),
        (raw(1) + b"\x00", "trailing"),
        (b"\xa1\xff", "utf-8"),
        (b"\x91" * 100_000, "nested too deeply"),
        (b"\x81\x80\x01", "hashable"),
        (raw(ext(99, b"x")), "unknown extension type 99"),
        (raw(ext(extension.TUPLE, raw({"a": 1}))), "must hold an array"),
        (raw(ext(extension.TUPLE, b"")), "truncated"),
        (raw(ext(extension.SET, raw([[1]]))), "unhashable"),
        (raw(ext(extension.PAIRS, raw([1, 2, 3]))), "zip"),
        (raw(ext(extension.PAIRS, raw([[], 2]))), "unhashable"),
        (raw(ext(extension.TEXT, b"\xff")), "utf-8"),
        (raw(ext(extension.DATETIME, raw(["now", 0, None]))), "Invalid isoformat"),
        (raw(ext(extension.DATETIME, raw(["2020-01-01", 7, None]))), "fold"),
        (raw(ext(extension.DATETIME, raw(["2020-01-01T00:00", 0, "No/Where"]))), "No/Where"),
        (raw(ext(extension.TIME, raw(["01:00", 0, "../../etc/passwd"]))), "passwd"),
        (raw(ext(extension.DATE, b"2020-13-01")), "month"),
        (raw(ext(extension.TIMEDELTA, raw([10**9, 0, 0]))), "days"),
        (raw(ext(extension.TIMEDELTA, raw(["1", 0, 0]))), "unsupported type"),
        (raw(ext(extension.UUID, b"short")), "16"),
        (raw(ext(extension.DECIMAL, b"ten")), "Invalid|Conversion"),
        (raw(ext(extension.ERROR, raw(["C", "m"]))), "unpack"),
        (named(extension.ENUM, f"{TYPES}:Colour", "BLUE"), "BLUE"),
        (named(extension.ENUM, f"{TYPES}:Rights", 64), "invalid value"),
        (named(extension.MODEL), "IndexError"),
        (named(extension.MODEL, f"{TYPES}:Base"), "IndexError"),
        (named(extension.MODEL, 1, {}), "AttributeError"),
        (named(extension.MODEL, [], {}), "unhashable"),
        (
            named(extension.MODEL, f"{TYPES}:Base", {"a": "much"}),
            "a: Input should be a valid integer",
        ),
        (named(extension.MODEL, f"{TYPES}:Base", {"a": 1}, 5), "TypeError"),
        (named(extension.MODEL, f"{TYPES}:Point", {"x": 1}), "another kind of type"),
        (named(extension.STRUCT, f"{TYPES}:Base", {"a": 1}), "another kind of type"),
        (named(extension.DATACLASS, f"{TYPES}:Colour", {}), "another kind of type"),
        (named(extension.DATACLASS, f"{TYPES}:Point", {}), "missing 1 required"),
        (named(extension.DATACLASS, f"{TYPES}:Point", {"x": 1, "y": "1"}), "TypeError"),
        (named(extension.STRUCT, f"{TYPES}:Row", {}), "Missing required argument"),
    ],
)
def test_malformed(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedValue, match=reason):
        codec.unpack(data)


def test_an_error_does_not_tell_what_the_payload_held() -> None:
    with pytest.raises(MalformedValue) as caught:
        codec.unpack(named(extension.MODEL, f"{TYPES}:Base", {"a": "confidential"}))
    assert "confidential" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        f"{TYPES}:Nothing", f"{TYPES}:Base.Nothing", f"{TYPES}:codec", f"{TYPES}:Text",
        f"{TYPES}:__name__", "builtins:object", "os:system", "subprocess:Popen",
        "penguiflow.errors:FlowError", "nowhere", "", ":", ":x",
        "xml.dom.minidom:Document", f"{TYPES}:Base.__class__", f"{TYPES}:Base.model_config",
    ],
)  # fmt: skip
def test_unknown_types(name: str) -> None:
    assert "xml.dom.minidom" not in sys.modules
    with pytest.raises(UnknownType) as caught:
        codec.unpack(named(extension.MODEL, name, {}))
    assert caught.value.name == name
    assert "xml.dom.minidom" not in sys.modules


# ---- the check for tests


def test_the_check_finds_validators_that_do_not_accept_their_own_result() -> None:
    checking = ValueCodec(check=True)
    assert checking.unpack(checking.pack([Base(), float("nan")]))[0] == Base()
    with pytest.raises(NotEncodable, match="reads back as something else"):
        checking.pack(Doubling(n=1))
    with pytest.raises(NotEncodable, match="does not read back"):
        checking.pack(Demanding.model_validate("1"))
    assert trip(Doubling(n=1)).n == 4, "unchecked, it changes on the way"
