"""Types by name: the flow's own first, then what is loaded; nothing is imported to find one."""

from __future__ import annotations

import dataclasses
import enum
import functools
import sys
import types
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

import msgspec
import pytest
from pydantic import BaseModel

from penguiflow.durable.codec import TypeMap, UnknownType, ValueCodec
from penguiflow.durable.typemap import type_name
from penguiflow.graph import Graph
from penguiflow.node import Node
from penguiflow.registry import ModelRegistry
from penguiflow.types import Message

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTheTypeChecker

SCRIPT = """
from __future__ import annotations
import dataclasses
from pydantic import BaseModel

class Part(BaseModel):
    n: int = 1

class Doc(BaseModel):
    part: Part = Part()

async def work(message, ctx):
    return message
"""


def load(name: str, monkeypatch: pytest.MonkeyPatch, file: str = "/flow.py") -> Any:
    module = types.ModuleType(name)
    module.__file__ = file
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(SCRIPT, file, "exec"), vars(module))
    return module


def flow_of(*functions: Any) -> Graph:
    return Graph([(Node(function, name=f"n{i}"), ()) for i, function in enumerate(functions)])


# ---- a script here, a module there


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    return load("__main__", monkeypatch)


def test_a_script_is_a_module_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("__main__", monkeypatch)
    sent = ValueCodec(TypeMap.of_flow(flow_of(script.work))).pack(script.Doc())
    module = load("flow", monkeypatch)
    load("__main__", monkeypatch, "/worker.py")  # which has a Doc of its own
    there = ValueCodec(TypeMap.of_flow(flow_of(module.work)))
    found = there.unpack(sent)
    assert (type(found), type(found.part)) == (module.Doc, module.Part)
    answer = there.pack(found)
    monkeypatch.delitem(sys.modules, "flow")
    back = ValueCodec(TypeMap.of_flow(flow_of(script.work))).unpack(answer)
    assert (type(back), type(back.part)) == (script.Doc, script.Part)


def test_the_flow_may_live_under_another_path(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = ValueCodec().pack(load("examples_flow", monkeypatch).Doc())
    monkeypatch.delitem(sys.modules, "examples_flow")
    module = load("flow", monkeypatch)
    assert type(ValueCodec(TypeMap([module.Doc])).unpack(sent)) is module.Doc


def test_a_script_that_is_imported_as_well_is_the_flow_s_own(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = load("flow", monkeypatch)
    codec = ValueCodec(TypeMap.of_flow(flow_of(script.work)))
    assert type(codec.unpack(ValueCodec().pack(twin.Doc()))) is script.Doc
    assert type(codec.unpack(codec.pack(twin.Doc()))) is script.Doc, "sent by the twin, here"


def test_a_loaded_type_of_the_same_name_is_not_mistaken(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = load("other", monkeypatch, "/other.py")
    codec = ValueCodec(TypeMap.of_flow(flow_of(script.work)))
    assert type(codec.unpack(codec.pack(other.Doc()))) is other.Doc
    assert type(codec.unpack(codec.pack(script.Doc()))) is script.Doc


def test_two_types_of_one_name_are_told_apart_by_their_modules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = load("one", monkeypatch), load("two", monkeypatch)
    both = TypeMap([one.Doc, two.Doc])
    assert both.resolve("one:Doc") is one.Doc
    assert both.resolve("two:Doc") is two.Doc
    with pytest.raises(UnknownType, match="several types of that name"):
        both.resolve("three:Doc")


def test_only_the_flow_s_own_types_when_asked_so(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = load("one", monkeypatch), load("two", monkeypatch)
    closed = TypeMap([one.Part], loaded=False)
    assert closed.resolve("one:Part") is one.Part
    assert closed.resolve("penguiflow.types:Message") is Message
    with pytest.raises(UnknownType, match="import its module in the worker"):
        closed.resolve("one:Doc")
    assert not closed.knows(two.Doc)


# ---- which types are a flow's own


class Leaf(enum.Enum):
    A = 1


class InField(BaseModel):
    leaf: Leaf | None = None


@dataclasses.dataclass
class InDataclass:
    models: dict[str, list[InField]]


class InStruct(msgspec.Struct):
    data: Annotated[InDataclass, "note"] | None = None


class InTypedDict(TypedDict):
    item: NotRequired[InField]


async def annotated(message: InStruct, ctx: Any) -> None: ...


async def half_annotated(message: InField, ctx: OnlyForTheTypeChecker) -> None: ...


async def bare(message, ctx):  # type: ignore[no-untyped-def]
    ...


class Callable_:
    async def __call__(self, message: InField, ctx: Any) -> None: ...


class Registered(BaseModel):
    leaf: Leaf = Leaf.A


def own(types_: TypeMap) -> set[type]:
    return {kind for kind in CANDIDATES if _known(types_, kind)}


CANDIDATES: list[type] = [Leaf, InField, InDataclass, InStruct, Registered]


def _known(types_: TypeMap, kind: type) -> bool:
    try:
        return types_.resolve(type_name(kind)) is kind
    except UnknownType:
        return False


def test_types_of_fields_and_arguments_are_added() -> None:
    assert own(TypeMap(loaded=False)) == set()
    assert own(TypeMap([InField], loaded=False)) == {InField, Leaf}
    assert own(TypeMap([InTypedDict], loaded=False)) == {InField, Leaf}
    assert own(TypeMap([InStruct], loaded=False)) == {InStruct, InDataclass, InField, Leaf}


@pytest.mark.parametrize(
    "function", [annotated, half_annotated, bare, Callable_(), functools.partial(annotated)]
)
def test_a_node_brings_what_its_module_defines(function: Any) -> None:
    assert own(TypeMap.of_flow(flow_of(function), loaded=False)) == set(CANDIDATES)


def test_annotations_and_the_registry_name_types(monkeypatch: pytest.MonkeyPatch) -> None:
    for function in (annotated, half_annotated, bare, Callable_.__call__):
        monkeypatch.setattr(function, "__module__", "gone")  # leaves the annotations alone

    def found(function: Any, registry: ModelRegistry | None = None) -> set[type]:
        return own(TypeMap.of_flow(flow_of(function), registry, loaded=False))

    assert found(annotated) == {InStruct, InDataclass, InField, Leaf}
    assert found(functools.partial(annotated)) == {InStruct, InDataclass, InField, Leaf}
    assert found(Callable_()) == {InField, Leaf}
    assert found(half_annotated) == {InField, Leaf}
    assert found(bare) == set()
    registry = ModelRegistry()
    registry.register("n0", Registered, Message)
    assert found(bare, registry) == {Registered, Leaf}


# ---- nothing is imported


def test_a_module_is_never_asked_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lazy(types.ModuleType):
        def __getattribute__(self, name: str) -> Any:
            pytest.fail(f"asked for {name}")

    lazy = Lazy("lazy")
    monkeypatch.setitem(sys.modules, "lazy", lazy)
    with pytest.raises(UnknownType):
        TypeMap().resolve("lazy:Thing")


def test_many_names_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    types_ = TypeMap([InField])
    for n in range(5000):
        assert types_.resolve(f"elsewhere{n}:InField") is InField
    assert len(types_._found) < 5000
