"""How values of a class are packed: models, dataclasses, structs, enums, and `FlowError`.

A value is taken apart by its fields, and each field's value is packed by its own type. So a field
keeps what it holds: a subclass where the annotation names the base, a tuple where it says
`Sequence`, a model where it says `Any`. Serialisers, aliases and `exclude` of a model are for
other formats and play no part, except for a field whose value has no form of its own.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Set
from enum import Enum, Flag
from typing import Any

import msgspec
from msgspec.msgpack import Ext
from pydantic import BaseModel, EncodedBytes, EncodedStr, Json
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError

from penguiflow.durable import extension
from penguiflow.durable.envelope import readable
from penguiflow.durable.packing import Handler, Packer, Refused, check_depth, encode, step
from penguiflow.durable.typemap import TypeMap, can_travel, type_name
from penguiflow.durable.wire_errors import NotEncodable
from penguiflow.errors import FlowError

_ONE_WAY = NotEncodable("a field", "its JSON form does not read back as the same")


class Learner:
    """Makes the handler of a type when a packer meets it for the first time."""

    def __init__(self, types: TypeMap) -> None:
        self._types = types

    def __call__(self, packer: Packer, kind: type) -> Handler:
        if kind is FlowError:
            return _FlowErrors(packer).pack
        if not can_travel(kind):
            raise NotEncodable(type_name(kind).removeprefix("builtins:"), _hint(kind))
        if not self._types.knows(kind):
            hint = "its name does not lead back to it: define it at the top level of a module"
            raise NotEncodable(type_name(kind), hint)
        if issubclass(kind, Enum):
            return _Enums(kind).pack
        if issubclass(kind, BaseModel):
            return _Models(packer, kind).pack
        if issubclass(kind, msgspec.Struct):
            return _Structs(packer, kind).pack
        return _Dataclasses(packer, kind).pack


class _Models:
    """Packs the instances of one pydantic model."""

    def __init__(self, packer: Packer, kind: type[BaseModel]) -> None:
        self._packer = packer
        self._name = type_name(kind)
        self._count = len(kind.model_fields)
        fields = kind.model_fields.items()
        self._one_way = frozenset(name for name, field in fields if _is_one_way(field))

    def pack(self, value: BaseModel, depth: int) -> Ext:
        check_depth(depth)
        packer = self._packer
        state: Mapping[str, Any] = value.__dict__
        extra = value.__pydantic_extra__
        if extra or len(state) != self._count:  # a cached property lies there as well
            state = {name: state[name] for name in type(value).model_fields if name in state}
            state |= extra or {}
        if self._one_way or not packer.scalars.issuperset(map(type, state.values())):
            state = self._convert(value, state, depth)
        body: list[Any] = [self._name, state]
        if len(value.model_fields_set) < len(state):
            body.append(sorted(state.keys() - value.model_fields_set))
        return Ext(extension.MODEL, encode(body))

    def _convert(self, value: BaseModel, state: Mapping[str, Any], depth: int) -> dict[str, Any]:
        converted: dict[str, Any] = {}
        failed: dict[str, NotEncodable] = {}
        scalars, convert = self._packer.scalars, self._packer.convert
        for name, found in state.items():
            if name in self._one_way:
                failed[name] = _ONE_WAY
                continue
            if type(found) in scalars:
                converted[name] = found
                continue
            try:
                converted[name] = convert(found, depth + 1)
            except Refused as error:
                raise error.within(step(name)) from None
            except NotEncodable as error:
                failed[name] = error
        if failed:
            forms = _json_forms(value, state, failed.keys())
            if forms is None:
                name, first = next(iter(failed.items()))
                raise Refused(first.type_name, first.hint, step(name) + first.path)
            converted |= self._packer.fields(forms.items(), depth)
        return converted


def _is_one_way(field: FieldInfo) -> bool:
    """Whether the field's validator takes another form than it gives: JSON text, base64."""
    return any(
        mark is Json or isinstance(mark, Json | EncodedBytes | EncodedStr)
        for mark in field.metadata
    )


def _json_forms(
    value: BaseModel, state: Mapping[str, Any], names: Set[str]
) -> dict[str, Any] | None:
    """The model's own JSON form of these fields (a path, a URL, an array with a serialiser), or
    None if it does not read back as the same: a secret writes stars."""
    try:
        forms = _dump(value, names)
        again = type(value).model_validate({**state, **forms}, by_alias=False, by_name=True)
        if forms.keys() != names:
            return None
    except (PydanticSerializationError, ValueError, TypeError):
        return None
    try:
        same = all(_alike(getattr(again, name), state[name]) for name in names)
    except Exception:  # noqa: BLE001 - arrays, for one, have no yes or no for `==`
        same = _dump(again, names) == forms
    return forms if same else None


def _dump(value: BaseModel, names: Set[str]) -> dict[str, Any]:
    return value.model_dump(
        mode="json", include=set(names), by_alias=False, round_trip=True, warnings="error"
    )


def _alike(one: Any, other: Any) -> bool:
    """Whether values are equal and of equal types, inside containers too."""
    if type(one) is not type(other):
        return False
    if type(one) is dict:
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if type(one) in (list, tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    return bool(one == other)


class _Dataclasses:
    """Packs the instances of one dataclass: the fields that its constructor takes."""

    def __init__(self, packer: Packer, kind: Any) -> None:
        self._packer = packer
        self._name = type_name(kind)
        self._fields = [field.name for field in dataclasses.fields(kind) if field.init]
        unknown = inspect.signature(kind).parameters.keys() & _pseudo_fields(kind)
        if unknown:
            hint = f"its constructor needs {sorted(unknown)}, which it does not keep"
            raise NotEncodable(self._name, hint)

    def pack(self, value: Any, depth: int) -> Ext:
        check_depth(depth)
        state = {name: getattr(value, name) for name in self._fields}
        if not self._packer.scalars.issuperset(map(type, state.values())):
            state = self._packer.fields(state.items(), depth)
        return Ext(extension.DATACLASS, encode([self._name, state]))


def _pseudo_fields(kind: Any) -> set[str]:
    """What is declared as a field and is none: class variables, parameters of the constructor."""
    declared: dict[str, Any] = kind.__dataclass_fields__
    return declared.keys() - {field.name for field in dataclasses.fields(kind)}


class _Structs:
    """Packs the instances of one msgspec struct."""

    def __init__(self, packer: Packer, kind: type[msgspec.Struct]) -> None:
        self._packer = packer
        self._name = type_name(kind)
        self._fields = kind.__struct_fields__

    def pack(self, value: msgspec.Struct, depth: int) -> Ext:
        check_depth(depth)
        state = {name: getattr(value, name) for name in self._fields}
        if not self._packer.scalars.issuperset(map(type, state.values())):
            state = self._packer.fields(state.items(), depth)
        return Ext(extension.STRUCT, encode([self._name, state]))


class _Enums:
    """Packs the members of one enum, by name: a value may be anything, and may change."""

    def __init__(self, kind: type[Enum]) -> None:
        self._name = type_name(kind)
        self._by_number = issubclass(kind, Flag)

    def pack(self, value: Enum, depth: int) -> Ext:
        member = value.value if self._by_number else value.name
        return Ext(extension.ENUM, encode([self._name, member]))


class _FlowErrors:
    """Packs errors. What cannot travel in the metadata becomes its `repr`: an error must arrive."""

    def __init__(self, packer: Packer) -> None:
        self._convert = packer.convert

    def pack(self, value: FlowError, depth: int) -> Ext:
        check_depth(depth)
        texts = (value.code, value.message, value.trace_id, value.node_name, value.node_id)
        body = [None if text is None else self._convert(str(text), depth) for text in texts]
        details: list[Any] = []
        for key, detail in value.metadata.items():
            details += (self._detail(str(key), depth + 1), self._detail(detail, depth + 1))
        return Ext(extension.ERROR, encode([*body, value.exception_type, details]))

    def _detail(self, detail: Any, depth: int) -> Any:
        try:
            return self._convert(detail, depth)
        except NotEncodable:
            return readable(detail)


def _hint(kind: type) -> str:
    if issubclass(kind, BaseException):
        return "raise it, or carry a FlowError"
    if issubclass(kind, bytearray | memoryview):
        return "use bytes"
    if issubclass(kind, str | int | float | bytes | list | dict | tuple | set | frozenset):
        return "use the plain builtin type, a dataclass or a pydantic model"
    return "use a pydantic model, a dataclass or a builtin type"
