"""From live values to what msgpack can write: everything without a form there becomes an ext."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from msgspec.msgpack import Encoder, Ext
from pydantic_core import TzInfo

from penguiflow.durable import extension
from penguiflow.durable.wire_errors import NotEncodable

MAX_DEPTH: Final = 100
"""Containers inside each other. Reading takes several stack frames for each."""

Handler = Callable[[Any, int], Any]

_SCALARS: Final = frozenset((type(None), bool, int, float, str, bytes))
_FIXED_OFFSETS: Final = (dt.timezone, TzInfo)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_INT64: Final = 2**63
_TOO_DEEP: Final = (
    "a container",
    f"more than {MAX_DEPTH} lie inside each other, or one holds itself",
)

encode: Callable[[Any], bytes] = Encoder().encode


class Refused(NotEncodable):
    """Not encodable, and no container further out needs to try another way."""


class Packer:
    """Turns values into what the encoder writes; it knows the builtin types.

    Args:
        learn: Makes the handler of a type that is met for the first time, or raises.
        careful: Whether int and str are looked at one by one. Nearly none are special, and the
            encoder notices: so values are tried as they are first, and this is the second try.
    """

    def __init__(self, learn: Callable[[Packer, type], Handler], *, careful: bool) -> None:
        self._learn = learn
        self.scalars: frozenset[type] = _SCALARS - {int, str} if careful else _SCALARS
        self._handlers: dict[type, Handler] = {
            list: self._list,
            dict: self._dict,
            tuple: self._tuple,
            set: self._set,
            frozenset: self._frozenset,
            dt.datetime: _datetime,
            dt.date: _date,
            dt.time: _time,
            dt.timedelta: _timedelta,
            uuid.UUID: _uuid,
            Decimal: _decimal,
        }
        if careful:
            self._handlers[int] = _int
            self._handlers[str] = _str

    def convert(self, value: Any, depth: int) -> Any:
        """The value, or what stands for it."""
        kind = type(value)
        if kind in self.scalars:
            return value
        handler = self._handlers.get(kind) or self._new(kind)
        return handler(value, depth)

    def items(self, values: Iterable[Any], depth: int) -> list[Any]:
        """Every item converted, one level deeper."""
        converted = []
        scalars, handlers = self.scalars, self._handlers
        for index, value in enumerate(values):
            kind = type(value)
            if kind in scalars:
                converted.append(value)
                continue
            try:
                handler = handlers.get(kind) or self._new(kind)
                converted.append(handler(value, depth + 1))
            except NotEncodable as error:
                raise error.within(step(index)) from None
        return converted

    def fields(self, values: Iterable[tuple[Any, Any]], depth: int) -> dict[Any, Any]:
        """Every value converted, one level deeper, under the key as it is."""
        converted = {}
        scalars, handlers = self.scalars, self._handlers
        for key, value in values:
            kind = type(value)
            if kind in scalars:
                converted[key] = value
                continue
            try:
                handler = handlers.get(kind) or self._new(kind)
                converted[key] = handler(value, depth + 1)
            except NotEncodable as error:
                raise error.within(step(key)) from None
        return converted

    def _new(self, kind: type) -> Handler:
        handler = self._handlers[kind] = self._learn(self, kind)
        return handler

    def _list(self, value: list[Any], depth: int) -> list[Any]:
        if depth >= MAX_DEPTH:
            raise Refused(*_TOO_DEEP)
        if self.scalars.issuperset(map(type, value)):
            return value
        return self.items(value, depth)

    def _tuple(self, value: tuple[Any, ...], depth: int) -> Ext:
        return Ext(extension.TUPLE, self._array(value, depth))

    def _set(self, value: set[Any], depth: int) -> Ext:
        return Ext(extension.SET, self._array(value, depth))

    def _frozenset(self, value: frozenset[Any], depth: int) -> Ext:
        return Ext(extension.FROZENSET, self._array(value, depth))

    def _array(self, value: Any, depth: int) -> bytes:
        check_depth(depth)
        if self.scalars.issuperset(map(type, value)):
            return encode(value)
        return encode(self.items(value, depth))

    def _dict(self, value: dict[Any, Any], depth: int) -> dict[Any, Any] | Ext:
        if depth >= MAX_DEPTH:
            raise Refused(*_TOO_DEEP)
        fit = self.scalars.issuperset
        if not fit(map(type, value)):
            return self._pairs(value, depth)
        if fit(map(type, value.values())):
            return value
        return self.fields(value.items(), depth)

    def _pairs(self, value: dict[Any, Any], depth: int) -> Ext:
        keys = self.items(value, depth)
        values = self.fields(value.items(), depth).values()
        pairs = zip(keys, values, strict=True)
        return Ext(extension.PAIRS, encode([part for pair in pairs for part in pair]))


def check_depth(depth: int) -> None:
    """Raises `Refused`."""
    if depth >= MAX_DEPTH:
        raise Refused(*_TOO_DEEP)


def step(key: Any) -> str:
    """How a path goes on to the value under a key."""
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]"


def _int(value: int, depth: int) -> int | Ext:
    if -_INT64 <= value < 2 * _INT64:
        return value
    size = value.bit_length() // 8 + 1
    return Ext(extension.BIGINT, value.to_bytes(size, "big", signed=True))


def _str(value: str, depth: int) -> str | Ext:
    try:
        value.encode()
    except UnicodeEncodeError:
        return Ext(extension.TEXT, value.encode("utf-8", "surrogatepass"))
    return value


def _datetime(value: dt.datetime, depth: int) -> Ext:
    return Ext(extension.DATETIME, _clock_time(value))


def _time(value: dt.time, depth: int) -> Ext:
    return Ext(extension.TIME, _clock_time(value))


def _clock_time(value: dt.datetime | dt.time) -> bytes:
    zone = value.tzinfo
    wall = value.replace(tzinfo=None).isoformat()
    if zone is None:
        return encode([wall, value.fold, None])
    if type(zone) in _FIXED_OFFSETS:
        # A number: Python reads an offset of less than a second from text as none at all.
        offset = zone.utcoffset(None) or dt.timedelta(0)
        return encode([wall, value.fold, offset // _MICROSECOND])
    if type(zone) is ZoneInfo and zone.key is not None:
        # The time on the wall is what reads back equal; the offset follows from the zone.
        return encode([wall, value.fold, zone.key])
    kind = type(zone).__qualname__
    raise NotEncodable(kind, "use zoneinfo.ZoneInfo or datetime.timezone", ".tzinfo")


def _date(value: dt.date, depth: int) -> Ext:
    return Ext(extension.DATE, value.isoformat().encode())


def _timedelta(value: dt.timedelta, depth: int) -> Ext:
    return Ext(extension.TIMEDELTA, encode([value.days, value.seconds, value.microseconds]))


def _uuid(value: uuid.UUID, depth: int) -> Ext:
    return Ext(extension.UUID, value.bytes)


def _decimal(value: Decimal, depth: int) -> Ext:
    return Ext(extension.DECIMAL, str(value).encode())
