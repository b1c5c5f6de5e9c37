"""The value codec: what travels comes back equal and of the same type."""

from __future__ import annotations

import collections
import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import msgspec
import pydantic
import pytest
from msgspec import Raw
from pydantic import BaseModel

from penguiflow.durable import extension
from penguiflow.durable.codec import MalformedValue, NotEncodable, TypeMap, ValueCodec
from penguiflow.durable.envelope import EGRESS, MESSAGE, VALUE
from penguiflow.errors import FlowError
from penguiflow.types import WM, FinalAnswer, Headers, Message, StreamChunk
from tests.unit.codec_types import (
    Aliased,
    Bare,
    Base,
    BoxOfBase,
    Cached,
    Checked,
    Colour,
    Foreign,
    Frozen,
    Grid,
    Hidden,
    Holder,
    HoldsGrid,
    Leaf,
    Level,
    MaybeOneWay,
    MyHeaders,
    MyMessage,
    Name,
    OneWay,
    Open,
    Outer,
    Patch,
    Plain,
    Point,
    Rights,
    Root,
    Row,
    Secret,
    Special,
    Strict,
    Sub,
    Text,
    Touchy,
    Untyped,
    Wide,
)

ext = msgspec.msgpack.Ext
raw = msgspec.msgpack.encode
codec = ValueCodec()
TYPES = Base.__module__
NAIVE = dt.datetime.fromisoformat
HEADERS = Headers(tenant="acme", topic="news", priority=3)


def trip(value: Any) -> Any:
    return codec.unpack(codec.pack(value))


def alike(one: Any, other: Any) -> bool:
    """Equal and of equal types; the types of what lies inside are tested as values of their own."""
    return type(one) is type(other) and bool(one == other)


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**400, -(10**400),
        1.5,
        float("inf"), -0.0, "", "text \U0001f427", "\ud800", "\ud83d\ude00", b"", b"\x00\xff", [],
        {}, (),
        set(), frozenset(), [1, [2, (3, {4})]], (None,), ((),), {1, "a", (2, frozenset({3}))},
        {"a": 1, "b": [1, {"c": (1,)}]},
        {1: "int", "1": "str", 1.5: "float", None: "none", b"1": "bytes"},
        {(1, 2): "tuple", frozenset({1}): "set", dt.date(2020, 1, 1): "date", Colour.RED: "enum"},
        {"\ud800": 2**70, 2**70: "\udfff"},
        NAIVE("2020-01-02T03:04:05.000006"), NAIVE("0001-01-01"),
        NAIVE("9999-12-31T23:59:59.999999"),
        dt.datetime(2020, 1, 2, tzinfo=dt.UTC),
        dt.datetime(2020, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=-3, seconds=7))),
        dt.datetime(2020, 1, 2, tzinfo=dt.timezone(dt.timedelta(microseconds=-1))),
        dt.date(2020, 2, 29), dt.time(1, 2, 3, 4), dt.time(1, tzinfo=dt.UTC),
        dt.timedelta(-1, 2, 3), dt.timedelta.max, uuid.UUID(int=7),
        Decimal("1.10"), Decimal("-0"), Decimal("1E+400"), Decimal("Infinity"),
        Colour.RED, Colour.CRIMSON, Colour.GREEN, Level.LOW, Name.A, Rights.READ | Rights.WRITE,
        Rights(0), Wide.FAR,
        Base(), Sub(a=5),
        Holder(one=Sub(b=3), many=[Base(), Sub()], anything=(Sub(), {Colour.RED: Base()})),
        Holder(one=Base(), either=Colour.RED), Holder(one=Base(), either="2"),
        Holder(one=Base(), numbers=(1,)),
        Aliased.model_validate({"PLAIN": 5, "x": [6], "hidden": 7, "out": 8}),
        Root([Base(), Sub()]), Root([]),
        Strict(when=dt.datetime.max.replace(tzinfo=dt.UTC), who=uuid.UUID(int=1), pair=(1, "x"),
               tags=frozenset("y")),
        Open(a=2, other=(1, Base()), a_b=3), BoxOfBase(inside=Sub()),
        Outer(inner=Outer.Inner(x=2)), Outer.Inner(),
        Point((1,), 2), Frozen(x={1}), Checked(X=1, y=(Sub(),)),
        Plain((1, Special(long_name=2)), (1, 2)), Special(x=Base(), long_name=3), Row(1, Special()),
        StreamChunk(stream_id="s", seq=1, text="t", done=True, meta={"k": (1,)}),
        Message(payload=Sub(), headers=HEADERS, meta={"at": dt.date(2020, 1, 1)}),
        [Message(payload=(1,), headers=HEADERS)], FinalAnswer(text="a", citations=["b"]),
        WM(query="q", facts=[(1,)]),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_round_trip(value: Any) -> None:
    assert alike(trip(value), value)
    assert alike(trip([value])[0], value)
    assert alike(trip({"key": value})["key"], value)
    assert alike(trip(Plain(value)).x, value)
    assert alike(trip(Holder(one=Base(), anything=[value])).anything[0], value)


@pytest.mark.skipif(not available_timezones(), reason="this machine has no time zones")
def test_zones_are_kept() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    second = dt.datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=berlin)
    found = trip({"at": second})["at"]
    assert found == second
    assert (found.tzinfo, found.fold) == (berlin, 1)
    assert found.utcoffset() == dt.timedelta(hours=1)
    assert trip(dt.time(2, tzinfo=berlin)).tzinfo is berlin


def test_folds_are_kept() -> None:
    assert trip(dt.time(2, fold=1)).fold == 1
    assert trip(NAIVE("2020-01-01").replace(fold=1)).fold == 1
    assert trip(dt.datetime(2020, 1, 1, fold=1, tzinfo=dt.UTC)).fold == 1


def test_a_time_that_pydantic_read_travels() -> None:
    for text in ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00+05:30"):
        value = Leaf.model_validate_json(f'{{"at": "{text}"}}')
        found = trip(value)
        assert found == value
        assert found.at.utcoffset() == value.at.utcoffset()


def test_a_not_a_number_is_none_again() -> None:
    assert str(trip(float("nan"))) == "nan"
    assert str(trip(Decimal("-sNaN12"))) == "-sNaN12"


# ---- models


def test_a_subclass_stays_a_subclass_where_the_field_names_the_base() -> None:
    found = trip(Holder(one=Sub(b=7), many=[Sub(b=8), Base()]))
    assert type(found.one) is Sub
    assert [type(each) for each in found.many] == [Sub, Base]
    assert (found.one.b, found.many[0].b) == (7, 8)


def test_what_was_left_unset_is_left_unset() -> None:
    assert trip(Sub(b=3)).model_dump(exclude_unset=True) == {"b": 3}
    assert trip(Base()).model_fields_set == set()
    assert trip(Open(other=1)).model_fields_set == {"other"}


def test_a_cached_property_does_not_travel() -> None:
    value = Cached(n=2)
    assert value.double == 4
    found = trip(value)
    assert "double" not in vars(found)
    assert found.double == 4


def test_private_attributes_do_not_travel() -> None:
    class Private(BaseModel):
        x: int = 1
        _cache: int = pydantic.PrivateAttr(0)

    local = ValueCodec(TypeMap([Private]))
    value = Private()
    value._cache = 5
    assert local.unpack(local.pack(value))._cache == 0


@pytest.mark.parametrize(
    "value",
    [
        Foreign(),
        Foreign(where=Path("/x/y"), places=[Path("b")], anything=(1, {2})),
        Foreign(address=pydantic.HttpUrl("https://example.org/x")),
        Foreign(recent=collections.deque([1, 2])),
    ],
)
def test_a_field_without_a_form_of_its_own_travels_as_the_model_writes_it(value: Foreign) -> None:
    assert alike(trip(value), value)
    assert trip([value])[0].model_fields_set == value.model_fields_set


def test_a_field_with_a_serialiser_of_its_own_travels() -> None:
    assert trip(HoldsGrid(grid=Grid([1, 2]))).grid.cells == [1, 2]


def test_a_field_that_is_unset_is_unset_again() -> None:
    for value in (Patch(1), Patch(1, c=(2,)), Patch(1, b=2)):
        assert alike(trip(value), value)


def test_an_undecorated_subclass_of_a_dataclass_travels() -> None:
    assert alike(trip(Bare(1, 2)), Bare(1, 2))


def test_a_field_whose_validator_takes_another_form_than_it_gives() -> None:
    maybe = MaybeOneWay(parsed="[1]", blobs=["YWJj"])
    assert (maybe.parsed, maybe.blobs) == ([1], ["abc"])
    assert alike(trip(maybe), maybe)
    assert alike(trip(MaybeOneWay()), MaybeOneWay())
    value = OneWay(blob=b"YWJj", parsed='{"a": [1]}')
    assert value.parsed == {"a": [1]}
    assert alike(trip(value), value)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Secret(key="k"), "value.key"),
        (Touchy(where=Path("a")), "value.where"),
        (Hidden(where="a"), "value.where"),
        (Untyped(field=Path("a")), "value.field"),
        (Untyped(field=[{"k": Text("a")}]), "value.field[0].k"),
        (Untyped(field=collections.OrderedDict(a=1)), "value.field"),
        (Untyped(field=object()), "value.field"),
    ],
)
def test_a_field_that_would_not_read_back_as_the_same_is_refused(value: Any, path: str) -> None:
    with pytest.raises(NotEncodable) as caught:
        codec.pack(value)
    assert caught.value.path == path


def test_a_newer_class_reads_what_an_older_one_wrote_and_the_other_way_round() -> None:
    for kind, code in ((Base, extension.MODEL), (Frozen, extension.DATACLASS)):
        name = f"{TYPES}:{kind.__qualname__}"
        assert codec.unpack(raw(ext(code, raw([name, {}])))) == kind()
        assert codec.unpack(raw(ext(code, raw([name, {"unknown": 1}])))) == kind()
    name = f"{TYPES}:Plain"
    assert codec.unpack(raw(ext(extension.STRUCT, raw([name, {"x": 1, "new": 2}])))) == Plain(1)


# ---- errors as values


def test_a_flow_error_travels() -> None:
    error = FlowError(
        trace_id="t",
        node_name="n",
        node_id="id",
        code="CODE",
        message="bad \udcff",
        original_exc=KeyError("k"),
        metadata={"attempt": 2, "pair": (1, 2), "thing": object(), "big": 2**70, 5: Base()},
    )
    found = trip({"error": error})["error"]
    assert type(found) is FlowError
    assert found.unwrap() is None
    assert str(found) == str(error)
    assert found.metadata["thing"].startswith("<object object")
    expected = error.to_payload()
    expected["metadata"] = {"attempt": 2, "pair": (1, 2), "big": 2**70, "5": Base()}
    del found.metadata["thing"]
    assert found.to_payload() == expected
    bare = FlowError(trace_id=None, node_name=None, code="C", message="m")
    assert trip(bare).to_payload() == bare.to_payload()


# ---- outputs


@pytest.mark.parametrize("payload", [None, {"a": (1,)}, Sub(), [Base()], 2**70, "\ud800"])
def test_a_message_survives_as_it_is(payload: Any) -> None:
    message = Message(
        payload=payload,
        headers=HEADERS,
        trace_id="my trace",
        ts=5.25,
        deadline_s=7.5,
        meta={"k": [1, (2,)], "at": dt.date(2020, 1, 1)},
    )
    output = codec.pack_output(message, ["a", EGRESS], "another trace")
    assert (output.kind, output.targets, output.trace_id) == (MESSAGE, ("a", EGRESS), "my trace")
    assert (output.tenant, output.topic, output.priority) == ("acme", "news", 3)
    found = codec.unpack_output(output)
    assert alike(found, message)
    assert alike(found.payload, payload)
    assert type(found.headers) is Headers
    bare = Message(payload=payload, headers=Headers(tenant="t"), deadline_s=None)
    assert alike(codec.unpack_output(codec.pack_output(bare, (), "t")), bare)


@pytest.mark.parametrize(
    "message",
    [
        MyMessage(payload=(1,), headers=HEADERS, more=5),
        Message(payload=1, headers=MyHeaders(tenant="t", region="us")),
        Message(payload=1, headers=HEADERS, meta={}).model_copy(update={"deadline_s": 5}),
    ],
)
def test_an_unusual_message_keeps_its_types(message: Message) -> None:
    output = codec.pack_output(message, ["a"], "t")
    found = codec.unpack_output(output)
    assert alike(found, message)
    assert type(found.headers) is type(message.headers)


def test_any_other_value_belongs_to_the_trace_it_was_emitted_in() -> None:
    output = codec.pack_output((1, 2), ("a",), "trace")
    assert (output.kind, output.trace_id, output.targets) == (VALUE, "trace", ("a",))
    assert codec.unpack_output(output) == (1, 2)


def test_an_error_says_which_part_of_a_message_it_is_about() -> None:
    for change, path in (
        ({"payload": [object()]}, "payload[0]"),
        ({"meta": {"k": {1j}}}, "meta.k[0]"),
    ):
        message = Message(payload=1, headers=HEADERS).model_copy(update=change)
        with pytest.raises(NotEncodable) as caught:
            codec.pack_output(message, (), "t")
        assert caught.value.path == path


def test_an_output_that_is_no_message_is_malformed() -> None:
    output = codec.pack_output(Message(payload=1, headers=HEADERS), ("a",), "t")
    with pytest.raises(MalformedValue, match="meta: Input should be a valid dictionary"):
        codec.unpack_output(msgspec.structs.replace(output, meta=Raw(raw([1]))))
    with pytest.raises(MalformedValue):
        codec.unpack_output(msgspec.structs.replace(output, payload=Raw(b"\xc1")))
