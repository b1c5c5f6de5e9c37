"""Whatever can travel comes back equal, with the same types at every level."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import enum
import math
import sys
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from penguiflow.durable.codec import MalformedValue, NotEncodable, ValueCodec
from penguiflow.errors import FlowError
from penguiflow.types import Headers, Message, StreamChunk

patient = settings(deadline=None)  # a busy machine is no failure
codec = ValueCodec()


class Colour(enum.Enum):
    RED = 1
    GREEN = "g"


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


class Leaf(BaseModel):
    n: int = 0
    at: dt.datetime | None = None


class Tree(Leaf):
    first: Leaf | None = None
    rest: list[Leaf] = []
    anything: Any = None


@dataclasses.dataclass(frozen=True)
class Pair:
    one: Any = None
    other: Any = None


class Record(msgspec.Struct):
    one: Any = None
    other: Any = None


# ---- strategies

any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=6)
day = dt.timedelta(hours=23)
fixed_offsets = (st.timedeltas(-day, day) | st.just(dt.timedelta(microseconds=-1))).map(dt.timezone)
named_zones = st.timezones() if available_timezones() else st.nothing()
zones = st.none() | st.just(dt.UTC) | fixed_offsets | named_zones
datetimes = st.datetimes(timezones=zones) | st.datetimes(timezones=zones).map(
    lambda value: value.replace(fold=1)
)
hashable_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**100), 2**100),
    st.floats(),
    any_text,
    st.binary(max_size=6),
    datetimes,
    st.dates(),
    st.times(timezones=zones),
    st.timedeltas(),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.sampled_from(Colour),
    st.integers(0, 3).map(Rights),
)
hashables = st.recursive(
    hashable_scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.frozensets(inner, max_size=3),
        st.builds(Pair, inner, inner),
    ),
    max_leaves=4,
)
leaves = st.builds(Leaf, n=st.integers(), at=st.none() | datetimes)
headers = st.builds(Headers, tenant=any_text, topic=st.none() | any_text, priority=st.integers())


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    metas = st.dictionaries(any_text, inner, max_size=2)
    return st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(hashables, inner, max_size=3),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.sets(hashables, max_size=3),
        st.builds(Pair, inner, inner),
        st.builds(Record, inner, inner),
        st.builds(Tree, n=st.integers(), first=leaves, rest=st.lists(leaves), anything=inner),
        st.builds(StreamChunk, stream_id=any_text, seq=st.integers(), text=any_text, meta=metas),
        messages_of(inner),
        st.builds(
            FlowError,
            trace_id=st.none() | any_text,
            node_name=st.none() | any_text,
            code=any_text,
            message=any_text,
            metadata=metas,
        ),
    )


def messages_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Message]:
    return st.builds(
        Message,
        payload=inner,
        headers=headers,
        trace_id=any_text,
        ts=st.floats(),
        deadline_s=st.none() | st.floats(),
        meta=st.dictionaries(any_text, inner, max_size=2),
    )


scalars = hashable_scalars | st.decimals() | leaves
values = st.recursive(scalars, containers, max_leaves=12)


# ---- equality that looks at types, at every level


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, Decimal):
        return str(one) == str(other)
    if isinstance(one, dt.datetime | dt.time):
        return one.replace(tzinfo=None) == other.replace(tzinfo=None) and (
            one.fold == other.fold and same_zone(one.tzinfo, other.tzinfo)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, set | frozenset):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    if isinstance(one, dict):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    if isinstance(one, BaseModel):
        return same(vars(one), vars(other)) and one.model_fields_set == other.model_fields_set
    if isinstance(one, Pair):
        return same(vars(one), vars(other))
    if isinstance(one, Record):
        return same(msgspec.structs.astuple(one), msgspec.structs.astuple(other))
    if isinstance(one, FlowError):
        return same(vars(one), vars(other))
    return bool(one == other)


def same_zone(one: dt.tzinfo | None, other: dt.tzinfo | None) -> bool:
    return one is other if isinstance(one, ZoneInfo) else one == other


@patient
@given(values)
def test_a_value_comes_back(value: Any) -> None:
    data = codec.pack(value)
    found = codec.unpack(data)
    assert same(found, value), (found, value)
    assert same(codec.unpack(codec.pack(found)), value)


@patient
@given(messages_of(values), st.lists(st.text(max_size=4), max_size=3), any_text)
def test_an_emitted_message_comes_back(message: Message, targets: list[str], trace: str) -> None:
    output = codec.pack_output(message, targets, trace)
    assert output.targets == tuple(targets)
    found = codec.unpack_output(output)
    assert same({**vars(found)}, {**vars(message)})


@patient
@given(values, any_text)
def test_any_emitted_value_comes_back(value: Any, trace: str) -> None:
    found = codec.unpack_output(codec.pack_output(value, ("a",), trace))
    if isinstance(value, Message):
        assert same(vars(found), vars(value))
    else:
        assert same(found, value)


# ---- anything else is refused, and nothing else happens


def read_or_refused(data: bytes) -> None:
    modules = set(sys.modules)
    try:
        value = codec.unpack(data)
    except MalformedValue:
        pass
    else:
        with contextlib.suppress(NotEncodable):  # deeper than what may be sent, for one
            codec.pack(value)
    assert set(sys.modules) == modules


@patient
@given(st.binary(max_size=100))
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    read_or_refused(data)


@patient
@given(values, st.data())
def test_any_damage_is_a_value_or_refused(value: Any, data: st.DataObject) -> None:
    damaged = bytearray(codec.pack(value))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    read_or_refused(bytes(damaged))


@patient
@given(st.integers(0, 20), st.lists(values, max_size=7))
def test_any_extension_is_a_value_or_refused(code: int, parts: list[Any]) -> None:
    named = [f"{__name__}:{kind.__name__}" for kind in (Tree, Pair, Record, Colour, Rights)]
    for name in named:
        inside = codec.pack([name, *parts])
        read_or_refused(msgspec.msgpack.encode(msgspec.msgpack.Ext(code, inside)))
