"""Which types a value may be of. Finds them by name, and imports nothing to do so."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any

from msgspec import Struct
from pydantic import BaseModel

from penguiflow import types as own_types
from penguiflow.durable.wire_errors import UnknownType
from penguiflow.graph import Graph
from penguiflow.registry import ModelRegistry

_HINT = (
    "import its module in the worker, or name the type in the annotations of a node or in the "
    "registry"
)
_AMBIGUOUS = "the flow has several types of that name"
_MAIN = "__main__"
_REMEMBERED = 4096


def type_name(kind: type) -> str:
    """The name under which a type travels."""
    return f"{kind.__module__}:{kind.__qualname__}"


def can_travel(kind: object) -> bool:
    """Whether values of this type are packed by field: a model, a dataclass, a struct, an enum."""
    return isinstance(kind, type) and (
        issubclass(kind, BaseModel | Struct | Enum) or dataclasses.is_dataclass(kind)
    )


class TypeMap:
    """Types by name: first those of the flow, then what this process has loaded.

    A script is `__main__` in its own process and a module in every other one, so the flow's own
    types are found by their qualified name too.

    Args:
        own: The flow's own types. The types that their fields and arguments name are added.
        loaded: Whether types of loaded modules are found as well, by their full name.
    """

    def __init__(self, own: Iterable[type] = (), *, loaded: bool = True) -> None:
        self._loaded = loaded
        self._found: dict[str, type] = {}
        self._own: dict[str, type | None] = {}
        self._by_qualname: dict[str, type | None] = {}
        """In both, None where two of the flow's types share the name."""
        for kind in _reachable((*_OWN_TYPES, *own)):
            for names, name in (
                (self._own, type_name(kind)),
                (self._by_qualname, kind.__qualname__),
            ):
                if names.setdefault(name, kind) is not kind:
                    names[name] = None

    @classmethod
    def of_flow(
        cls, graph: Graph, registry: ModelRegistry | None = None, *, loaded: bool = True
    ) -> TypeMap:
        """The types of a flow: its registry's models, what its nodes' annotations name, and what
        the modules of its nodes define."""
        own: list[type] = []
        for node in graph.nodes:
            if registry is not None and registry.has(node.name or ""):
                own.extend(registry.models(node.name or ""))
            own.extend(_of_function(node.func))
        return cls(own, loaded=loaded)

    def resolve(self, name: str) -> type:
        """The type of this name.

        Raises:
            UnknownType: it is not known here, or two types go by that name.
        """
        kind = self._found.get(name)
        if kind is None:
            kind = self._resolve(name)
            # Whoever writes bytes can think of many names for one type.
            if len(self._found) < _REMEMBERED:
                self._found[name] = kind
        return kind

    def knows(self, kind: type) -> bool:
        """Whether the name of the type leads back to it, here."""
        try:
            found = self.resolve(type_name(kind))
        except UnknownType:
            return False
        return found is kind or _loaded_twice(found, kind)

    def _resolve(self, name: str) -> type:
        if name in self._own:
            return _one_of(self._own[name], name)
        module, _, qualname = name.partition(":")
        namesake = self._by_qualname.get(qualname)
        found = _in_loaded_modules(module, qualname) if self._loaded else None
        if found is None:
            if qualname not in self._by_qualname:
                raise UnknownType(name, _HINT)
            return _one_of(namesake, name)
        if namesake is not None and (module == _MAIN or _loaded_twice(namesake, found)):
            # The sender's `__main__` is not ours, and a script that is also imported exists twice.
            return namesake
        return found


def _one_of(kind: type | None, name: str) -> type:
    if kind is None:
        raise UnknownType(name, _AMBIGUOUS)
    return kind


def _loaded_twice(one: type, other: type) -> bool:
    """Whether two classes are one definition, loaded as a script and as a module."""
    if one.__qualname__ != other.__qualname__ or _MAIN not in (one.__module__, other.__module__):
        return False
    files = [getattr(sys.modules.get(kind.__module__), "__file__", None) for kind in (one, other)]
    return files[0] is not None and files[0] == files[1]


def _in_loaded_modules(module: str, qualname: str) -> type | None:
    """Looks into dicts only: to ask a module for a name may import (PEP 562, lazy loaders)."""
    if module not in sys.modules:
        return None
    found: Any = None
    names = object.__getattribute__(sys.modules[module], "__dict__")
    # The name of a parametrised generic model, "Box[a.b]", is one name.
    for part in [qualname] if "[" in qualname else qualname.split("."):
        found = names.get(part)
        if not isinstance(found, type):
            return None
        names = vars(found)
    return found if can_travel(found) else None


def _reachable(types: Iterable[Any]) -> Iterator[type]:
    """The types, and those that their fields and arguments name, each once."""
    waiting = list(types)
    seen: dict[int, Any] = {}  # keeps them alive: a freed hint's id would be given out again
    while waiting:
        hint = waiting.pop()
        if id(hint) in seen:
            continue
        seen[id(hint)] = hint
        waiting.extend(typing.get_args(hint))
        if can_travel(hint):
            yield hint
            if not issubclass(hint, Enum):
                waiting.extend(_hints(hint).values())
        elif typing.is_typeddict(hint):
            waiting.extend(_hints(hint).values())


def _of_function(function: Callable[..., Any]) -> Iterator[Any]:
    while isinstance(function, functools.partial):
        function = function.func
    call = function if hasattr(function, "__globals__") else getattr(function, "__call__", None)  # noqa: B004
    yield from _hints(call).values()
    for found in list(_scope(call).values()):
        if can_travel(found) and found.__module__ == call.__module__:
            yield found


def _scope(annotated: Any) -> dict[str, Any]:
    """The names of the module in which a function or a class was written."""
    module = sys.modules.get(getattr(annotated, "__module__", None) or "")
    scope = getattr(inspect.unwrap(annotated), "__globals__", None)
    return scope or getattr(module, "__dict__", {})


def _hints(annotated: Any) -> dict[str, Any]:
    """Annotations as far as they can be resolved: a name known to the type checker only is not."""
    if isinstance(annotated, type) and issubclass(annotated, BaseModel):
        return {name: field.annotation for name, field in annotated.model_fields.items()}
    try:
        return typing.get_type_hints(annotated)
    except Exception:  # noqa: BLE001 - annotations may be any expression
        return _each_hint(annotated)


def _each_hint(annotated: Any) -> dict[str, Any]:
    """One annotation at a time, so that one that cannot be resolved does not hide the others."""
    names = _scope(annotated)
    resolved: dict[str, Any] = {}
    for name, hint in getattr(annotated, "__annotations__", {}).items():
        alone = types.SimpleNamespace(__annotations__={name: hint})
        with contextlib.suppress(Exception):
            resolved |= typing.get_type_hints(alone, globalns=names)
    return resolved


_OWN_TYPES = tuple(getattr(own_types, name) for name in own_types.__all__ if name[0].isupper())
