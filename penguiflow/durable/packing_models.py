"""How instances of pydantic models are packed.

A model is taken apart by its fields, and each field's value is packed by its own type. So a field
keeps what it holds: a subclass where the annotation names the base, a tuple where it says
`Sequence`, a model where it says `Any`. Serialisers, aliases and `exclude` are for other formats
and play no part, except for a field whose value has no form of its own.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Set
from typing import Any

from msgspec.msgpack import Ext
from pydantic import BaseModel, EncodedBytes, EncodedStr, Json

from penguiflow.durable import extension
from penguiflow.durable.packing import Packer, Refused, check_depth, encode, step
from penguiflow.durable.typemap import type_name
from penguiflow.durable.wire_errors import NotEncodable

_ONE_WAY = NotEncodable("a field", "its JSON form does not read back as the same")


class Models:
    """Packs the instances of one pydantic model."""

    def __init__(self, packer: Packer, kind: type[BaseModel]) -> None:
        self._packer = packer
        self._name = type_name(kind)
        self._count = len(kind.model_fields)
        self._one_way = frozenset(
            name
            for name, field in kind.model_fields.items()
            if any(map(_is_one_way, (field.annotation, *field.metadata)))
        )

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


def _is_one_way(hint: Any) -> bool:
    """Whether a validator takes another form than it gives: JSON text, base64."""
    if hint is Json or isinstance(hint, Json | EncodedBytes | EncodedStr):
        return True
    return any(map(_is_one_way, typing.get_args(hint)))


def _json_forms(
    value: BaseModel, state: Mapping[str, Any], names: Set[str]
) -> dict[str, Any] | None:
    """The model's own JSON form of these fields (a path, a URL, an array with a serialiser), or
    None if it does not read back as the same: a secret writes stars."""
    try:
        forms = _dump(value, names)
        again = type(value).model_validate({**state, **forms}, by_alias=False, by_name=True)
        same = forms.keys() == names and _same(again, value, names)
    except Exception:  # noqa: BLE001 - serialisers and validators may raise anything
        return None
    return forms if same else None


def _same(one: BaseModel, other: BaseModel, names: Set[str]) -> bool:
    try:
        return all(_alike(getattr(one, name), getattr(other, name)) for name in names)
    except Exception:  # noqa: BLE001 - arrays, for one, have no yes or no for `==`
        return _dump(one, names) == _dump(other, names)


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
