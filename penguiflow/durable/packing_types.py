"""How values of a class are packed: dataclasses, structs, enums, and `FlowError`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable
from enum import Enum, Flag
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.msgpack import Ext
from pydantic import BaseModel
from pydantic.dataclasses import is_pydantic_dataclass

from penguiflow.durable import extension
from penguiflow.durable.envelope import readable
from penguiflow.durable.packing import Handler, Packer, check_depth, encode
from penguiflow.durable.packing_models import Models
from penguiflow.durable.typemap import TypeMap, can_travel, type_name
from penguiflow.durable.wire_errors import NotEncodable
from penguiflow.errors import FlowError


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
            return _Enums(packer, kind).pack
        if issubclass(kind, BaseModel):
            return Models(packer, kind).pack
        if issubclass(kind, msgspec.Struct):
            return _Fields(packer, kind, extension.STRUCT, kind.__struct_fields__).pack
        return _Fields(packer, kind, extension.DATACLASS, _constructor_fields(kind)).pack


class _Fields:
    """Packs the instances of one dataclass or struct: the fields that its constructor takes."""

    def __init__(self, packer: Packer, kind: type, code: int, fields: Iterable[str]) -> None:
        self._packer = packer
        self._name = type_name(kind)
        self._code = code
        self._fields = tuple(fields)
        defaults = getattr(kind, "__struct_defaults__", ())
        last = self._fields[len(self._fields) - len(defaults) :]
        self._may_be_unset = {
            name for name, found in zip(last, defaults, strict=True) if found is UNSET
        }

    def pack(self, value: Any, depth: int) -> Ext:
        check_depth(depth)
        try:
            state = {name: getattr(value, name) for name in self._fields}
        except AttributeError as exc:
            raise NotEncodable(self._name, f"a field of it was deleted: {exc}") from None
        if not self._packer.scalars.issuperset(map(type, state.values())):
            for name in self._may_be_unset:
                if state[name] is UNSET:  # what is left out is UNSET again, by default
                    del state[name]
            state = self._packer.fields(state.items(), depth)
        return Ext(self._code, encode([self._name, state]))


def _constructor_fields(kind: Any) -> list[str]:
    """What a dataclass is built from; refuses one that keeps something else than it is given."""
    fields = [field.name for field in dataclasses.fields(kind) if field.init]
    parameters = inspect.signature(kind).parameters
    declared: dict[str, Any] = kind.__dataclass_fields__
    unknown = parameters.keys() & (declared.keys() - {f.name for f in dataclasses.fields(kind)})
    if not unknown and not is_pydantic_dataclass(kind):  # there, a parameter may be an alias
        unknown = parameters.keys() ^ set(fields)
    if unknown:
        hint = f"its constructor and its fields differ in {sorted(unknown)}"
        raise NotEncodable(type_name(kind), hint)
    return fields


class _Enums:
    """Packs the members of one enum, by name: a value may be anything, and may change."""

    def __init__(self, packer: Packer, kind: type[Enum]) -> None:
        self._packer = packer
        self._name = type_name(kind)
        self._by_number = issubclass(kind, Flag)

    def pack(self, value: Enum, depth: int) -> Ext:
        member = self._packer.convert(value.value, depth) if self._by_number else value.name
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
