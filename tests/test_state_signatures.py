"""How the classes and functions of state, artifacts, steering and sessions are called. Frozen.

`state_signatures.txt` has a line for each: what is public in the modules below, with the names,
kinds and defaults of its parameters. A line that has to change is a change of what users call.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODULES = (
    "artifacts",
    "sessions",
    "sessions.broker",
    "sessions.models",
    "sessions.persistence",
    "state",
    "state.adapters",
    "state.in_memory",
    "steering",
)
FROZEN = Path(__file__).with_name("state_signatures.txt")


def shown(call: Any) -> str:
    """`async (self, event, *, limit=500)`: without types, and without addresses of objects."""
    made = inspect.signature(call)
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in made.parameters.values()]
    text = str(made.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    kind = "async " if inspect.iscoroutinefunction(call) else ""
    return kind + re.sub(r"<[\w.]*?(\w+) object at 0x\w+>", r"<\1>", text)


def of_class(name: str, found: type) -> Iterator[str]:
    """The members of an enum; else the constructor, and what is public and the class's own or of a
    class of ours that it is made from."""
    if issubclass(found, enum.Enum):
        yield f"{name} = {', '.join(f'{each.name}={each.value}' for each in found)}"
        return
    if not getattr(found, "_is_protocol", False):
        yield f"{name} {shown(found)}"
    for each in dir(found):
        home = next((c for c in found.__mro__ if each in vars(c)), found)
        if each.startswith("_") or not home.__module__.startswith("penguiflow"):
            continue
        member = inspect.getattr_static(found, each)
        if isinstance(member, property):
            yield f"{name}.{each} property"
        elif isinstance(member, classmethod | staticmethod):
            kind = type(member).__name__
            yield f"{name}.{each} {kind} {shown(member.__func__)}"
        elif inspect.isfunction(member):
            yield f"{name}.{each} {shown(member)}"


def public() -> Iterator[str]:
    for module in MODULES:
        place = importlib.import_module(f"penguiflow.{module}")
        for name in place.__all__:
            found, path = getattr(place, name), f"{module}.{name}"
            if inspect.isclass(found):
                yield from of_class(path, found)
            elif callable(found):
                yield f"{path} {shown(found)}"
            else:
                yield f"{path} = {found!r}"


def test_what_is_called_is_as_it_was() -> None:
    now, frozen = set(public()), set(FROZEN.read_text(encoding="utf-8").splitlines())
    assert sorted(now - frozen) == [], "new or changed: add the line once it is meant"
    assert sorted(frozen - now) == [], "gone or changed: users call it so"


def test_a_changed_default_a_new_name_and_another_kind_show() -> None:
    class Before:
        async def load(self, key: str, *, limit: int = 5) -> None: ...

    class Default:
        async def load(self, key: str, *, limit: int = 6) -> None: ...

    class Name:
        async def load(self, token: str, *, limit: int = 5) -> None: ...

    class Kind:
        async def load(self, key: str, limit: int = 5) -> None: ...

    class Plain:
        def load(self, key: str, *, limit: int = 5) -> None: ...

    assert len({shown(each.load) for each in (Before, Default, Name, Kind, Plain)}) == 5
