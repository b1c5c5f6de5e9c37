"""From bytes back to live values. Builds nothing but what `extension` lists, imports nothing."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Callable
from decimal import Decimal
from enum import Enum, Flag
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec.msgpack import Decoder
from pydantic import BaseModel, RootModel, TypeAdapter, ValidationError
from pydantic.dataclasses import is_pydantic_dataclass

from penguiflow.durable import extension
from penguiflow.durable.typemap import TypeMap
from penguiflow.durable.wire_errors import MalformedValue
from penguiflow.errors import FlowError

Build = Callable[[list[Any]], Any]

_REMEMBERED = 4096


class Unpacker:
    """Reads values."""

    def __init__(self, types: TypeMap) -> None:
        self._types = types
        self._decode = Decoder(ext_hook=self._extension).decode
        self._readers: dict[int, Callable[[memoryview], Any]] = {
            extension.TUPLE: lambda data: tuple(self._array(data)),
            extension.SET: lambda data: set(self._array(data)),
            extension.FROZENSET: lambda data: frozenset(self._array(data)),
            extension.PAIRS: self._pairs,
            extension.BIGINT: lambda data: int.from_bytes(data, "big", signed=True),
            extension.TEXT: lambda data: str(data, "utf-8", "surrogatepass"),
            extension.DATETIME: lambda data: self._clock_time(dt.datetime, data),
            extension.DATE: lambda data: dt.date.fromisoformat(str(data, "ascii")),
            extension.TIME: lambda data: self._clock_time(dt.time, data),
            extension.TIMEDELTA: lambda data: dt.timedelta(*self._array(data)),
            extension.UUID: lambda data: uuid.UUID(bytes=bytes(data)),
            extension.DECIMAL: lambda data: Decimal(str(data, "ascii")),
            extension.ERROR: lambda data: _flow_error(self._array(data)),
        }
        for code in extension.NAMED:
            self._readers[code] = self._named(code)

    def unpack(self, data: bytes | memoryview | msgspec.Raw) -> Any:
        """The value.

        Raises:
            MalformedValue: the bytes are no value; `UnknownType` when they name an unknown type.
        """
        try:
            return self._decode(data)
        except MalformedValue:
            raise
        except RecursionError:
            msg = "malformed value: nested too deeply"
            raise MalformedValue(msg) from None
        except Exception as exc:  # a constructor may raise anything
            msg = f"malformed value: {reason(exc)}"
            raise MalformedValue(msg) from exc

    def _extension(self, code: int, data: memoryview) -> Any:
        reader = self._readers.get(code)
        if reader is None:
            msg = f"malformed value: unknown extension type {code}"
            raise MalformedValue(msg)
        return reader(data)

    def _array(self, data: memoryview) -> list[Any]:
        found = self._decode(data)
        if type(found) is not list:
            msg = "malformed value: an extension that must hold an array holds something else"
            raise MalformedValue(msg)
        return found

    def _pairs(self, data: memoryview) -> dict[Any, Any]:
        parts = self._array(data)
        return dict(zip(parts[::2], parts[1::2], strict=True))

    def _clock_time(self, kind: type[Any], data: memoryview) -> Any:
        text, fold, zone = self._array(data)
        value = kind.fromisoformat(text)
        return value.replace(tzinfo=_tzinfo(zone), fold=fold) if fold or zone is not None else value

    def _named(self, code: int) -> Callable[[memoryview], Any]:
        builders: dict[str, Build] = {}
        decode = self._decode

        def read(data: memoryview) -> Any:
            parts = decode(data)
            name = parts[0]
            build = builders.get(name)
            if build is None:
                build = self._builder(code, self._types.resolve(name), name)
                # Whoever writes bytes can think of many names for one type.
                if len(builders) < _REMEMBERED:
                    builders[name] = build
            try:
                return build(parts)
            except MalformedValue:
                raise
            except Exception as exc:
                msg = f"malformed value: {parts[0]} refused its fields: {reason(exc)}"
                raise MalformedValue(msg) from exc

        return read

    @staticmethod
    def _builder(code: int, kind: type, name: str) -> Build:
        if code == extension.ENUM and issubclass(kind, Enum):
            return _build_enum(kind)
        if code == extension.MODEL and issubclass(kind, BaseModel):
            return _build_model(kind)
        if code == extension.STRUCT and issubclass(kind, msgspec.Struct):
            return _build_from(kind, kind.__struct_fields__)
        if code == extension.DATACLASS and dataclasses.is_dataclass(kind):
            if is_pydantic_dataclass(kind):
                return _build_pydantic_dataclass(kind)
            return _build_from(kind, tuple(f.name for f in dataclasses.fields(kind) if f.init))
        msg = f"malformed value: {name!r} is another kind of type here"
        raise MalformedValue(msg)


def _build_enum(kind: type[Enum]) -> Build:
    if issubclass(kind, Flag):
        return lambda parts: kind(parts[1])
    members = kind.__members__
    return lambda parts: members[parts[1]]


def _build_model(kind: type[BaseModel]) -> Build:
    is_root = issubclass(kind, RootModel)

    def build(parts: list[Any]) -> BaseModel:
        fields = parts[1]["root"] if is_root else parts[1]
        # `model_validate` is this call and a Python frame more.
        validate = kind.__pydantic_validator__.validate_python
        model: BaseModel = validate(fields, by_alias=False, by_name=True)
        if len(parts) > 2:
            model.model_fields_set.difference_update(parts[2])
        return model

    return build


def _build_pydantic_dataclass(kind: type) -> Build:
    validate: Callable[..., Any] = TypeAdapter(kind).validate_python
    return lambda parts: validate(parts[1], by_alias=False, by_name=True)


def _build_from(kind: type, fields: tuple[str, ...]) -> Build:
    known = frozenset(fields)

    def build(parts: list[Any]) -> Any:
        values = parts[1]
        if values.keys() <= known:
            return kind(**values)
        # Written by a newer version of the class: a field that is unknown here is left out.
        return kind(**{name: value for name, value in values.items() if name in known})

    return build


def _tzinfo(zone: str | int | None) -> dt.tzinfo | None:
    if isinstance(zone, int):
        return dt.timezone(dt.timedelta(microseconds=zone))
    return zone if zone is None else ZoneInfo(zone)


def _flow_error(parts: list[Any]) -> FlowError:
    code, message, trace_id, node_name, node_id, exception_type, details = parts
    error = FlowError(
        trace_id=trace_id,
        node_name=node_name,
        code=code,
        message=message,
        node_id=node_id,
        metadata=dict(zip(details[::2], details[1::2], strict=True)),
    )
    error.exception_type = exception_type
    return error


def reason(exc: Exception) -> str:
    """What went wrong, without the data that it went wrong with."""
    if isinstance(exc, ValidationError):
        found = exc.errors(include_url=False, include_context=False, include_input=False)
        places = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found[:3]]
        return f"{exc.error_count()} validation errors; {'; '.join(places)}"
    return f"{type(exc).__name__}: {exc}"
