"""Types of all kinds that travel, and some that do not."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import functools
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import pydantic
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, RootModel

from penguiflow.errors import FlowError
from penguiflow.types import Headers, Message

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "r"
    CRIMSON = "r"  # noqa: PIE796 - an alias, on purpose
    GREEN = 2


class Level(enum.IntEnum):
    LOW = 1


class Name(enum.StrEnum):
    A = "a"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Base(BaseModel):
    a: int = 1


class Sub(Base):
    b: int = 2


class Leaf(BaseModel):
    at: dt.datetime


class Holder(BaseModel):
    one: Base
    many: list[Base] = []
    anything: Any = None
    either: Base | Colour | int | str | None = None
    numbers: Sequence[int] = ()


class Aliased(BaseModel):
    plain: int = Field(1, alias="PLAIN")
    deep: int = Field(2, validation_alias=AliasChoices("d", AliasPath("x", 0)))
    hidden: int = Field(3, exclude=True)
    out: int = Field(4, serialization_alias="OUT")


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    when: dt.datetime
    who: uuid.UUID
    pair: tuple[int, str]
    tags: frozenset[str]


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int = 1


class Root(RootModel[list[Base]]):
    pass


class Box(BaseModel, Generic[T]):
    inside: T


BoxOfBase = Box[Base]


class Cached(BaseModel):
    n: int

    @functools.cached_property
    def double(self) -> int:
        return 2 * self.n


class Outer(BaseModel):
    class Inner(BaseModel):
        x: int = 1

    inner: Inner = Inner()


@dataclasses.dataclass
class Point:
    x: Any
    y: int = 0
    total: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.total = self.y + 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    x: Any = None


@dataclasses.dataclass
class Needy:
    seed: dataclasses.InitVar[int]
    x: int = 0


@pydantic.dataclasses.dataclass
class Checked:
    x: int = Field(alias="X")
    y: Any = None


class Plain(msgspec.Struct):
    x: Any = None
    y: Sequence[int] = ()


class Special(Plain, frozen=True, rename="camel", tag="special", kw_only=True):
    long_name: int = 0


class Row(msgspec.Struct, array_like=True):
    n: int
    of: Plain | None = None


class Patch(msgspec.Struct):
    a: int
    b: int | msgspec.UnsetType = msgspec.UNSET
    c: Any = None


class Wide(enum.Flag):
    FAR = 2**80


class Bare(Point):
    """No dataclass of its own, but built the same way."""


class Other(Point):
    def __init__(self, everything: int) -> None:
        super().__init__(everything, everything)


class Pair(NamedTuple):
    a: int


class Text(str):
    __slots__ = ()


class Foreign(BaseModel):
    where: Path = Path("a")
    places: list[Path] = []
    anything: Any = None
    address: pydantic.HttpUrl | None = None
    recent: collections.deque[int] = collections.deque()


class Grid:
    """Like an array: equality is no yes or no."""

    def __init__(self, cells: list[int]) -> None:
        self.cells = cells

    def __eq__(self, other: object) -> Any:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


class HoldsGrid(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    grid: Grid

    @pydantic.field_serializer("grid")
    def _cells(self, grid: Grid) -> list[int]:
        return grid.cells

    @pydantic.field_validator("grid", mode="before")
    @classmethod
    def _grid(cls, found: Any) -> Any:
        return Grid(found) if isinstance(found, list) else found


class OneWay(BaseModel):
    blob: pydantic.Base64Bytes
    parsed: pydantic.Json[Any]
    n: int = 0


class MaybeOneWay(BaseModel):
    parsed: pydantic.Json[Any] | None = None
    blobs: list[pydantic.Base64Str] = []


class Secret(BaseModel):
    key: pydantic.SecretStr


class Hidden(BaseModel):
    where: Path = Field(exclude=True)


class Untyped(BaseModel):
    field: Any = None


class SubError(FlowError):
    pass


class LocalTimezone(dt.tzinfo):
    def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)


class MyMessage(Message):
    more: int = 0


class MyHeaders(Headers):
    region: str = "eu"


class Touchy(BaseModel):
    where: Path

    @pydantic.field_validator("where", mode="before")
    @classmethod
    def _only_paths(cls, found: Any) -> Any:
        return {Path("a"): found}[found]


class Doubling(BaseModel):
    n: int

    @pydantic.field_validator("n")
    @classmethod
    def _double(cls, n: int) -> int:
        return 2 * n


class Demanding(BaseModel):
    n: int

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_text(cls, found: Any) -> Any:
        return {"n": int(found)}
