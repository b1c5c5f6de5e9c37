"""What travels through the census: plain, frozen, JSON-friendly values.

All paths are POSIX paths relative to the root of the standard library, so that a message means
the same on every machine that has the same Python.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

TOP = 10
"""How many entries every "most complex" and "largest" list keeps.

A package keeps as many as the report shows: the ten most complex functions of the whole library
are then certain to be among those the packages kept.
"""


class CensusModel(BaseModel):
    """Immutable, and strict about unknown fields: a renamed field fails instead of vanishing."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Package(CensusModel):
    """One directory with Python files in it: what enters the flow."""

    name: str
    """Dotted path such as ``idlelib.idle_test``; the root is ``(top level)``."""
    files: tuple[str, ...]
    """Every ``.py`` file directly inside, sorted. Listed once, at the ingress: the number of files
    a join waits for must not depend on when a directory is read."""


class SourceFile(CensusModel):
    """One file to parse."""

    package: str
    path: str
    files_in_package: int
    """How many files the join of this package has to wait for."""


class LineCounts(CensusModel):
    """Lines of source; ``total`` is always the sum of the other three."""

    total: int = 0
    blank: int = 0
    """Nothing but white space, outside any string."""
    comment: int = 0
    """Nothing but a comment."""
    code: int = 0
    """Everything else. Docstrings are code, with the blank lines inside them."""

    def __add__(self, other: LineCounts) -> LineCounts:
        """Sum field by field."""
        return LineCounts(
            total=self.total + other.total,
            blank=self.blank + other.blank,
            comment=self.comment + other.comment,
            code=self.code + other.code,
        )


class FunctionComplexity(CensusModel):
    """The cyclomatic complexity of one function or method; see ``census_walk`` for the rule."""

    name: str
    """Qualified as in ``__qualname__``: ``Class.method``, ``outer.<locals>.inner``."""
    path: str
    line: int
    """The line of ``def``, below its decorators."""
    complexity: int


class ModuleMetrics(CensusModel):
    """The figures of one file. With an ``error`` all figures are zero."""

    package: str
    path: str
    files_in_package: int
    error: str | None = None
    """Why the file could not be decoded or parsed. That is a result, not a failure of the flow."""
    lines: LineCounts = LineCounts()
    functions: int = 0
    """Functions, methods and async ones, nested ones included; lambdas are not."""
    classes: int = 0
    complexity: int = 0
    """Sum over all functions. Branches outside functions are not counted."""
    top_functions: tuple[FunctionComplexity, ...] = ()
    """The most complex ones, at most ``TOP``; equal ones in order of appearance."""

    @property
    def most_complex(self) -> FunctionComplexity | None:
        """The most complex function, if the module has any."""
        return self.top_functions[0] if self.top_functions else None

    @property
    def max_complexity(self) -> int:
        """The complexity of the most complex function, zero without functions."""
        return self.most_complex.complexity if self.most_complex else 0


class ModuleSize(CensusModel):
    """How much code one module holds."""

    path: str
    code: int


class ParseError(CensusModel):
    """A file that could not be decoded or parsed."""

    path: str
    error: str


class PackageMetrics(CensusModel):
    """The figures of one package: sums over its files, sub-packages not included."""

    package: str
    files: int
    """All files, those with an error too."""
    lines: LineCounts
    functions: int
    classes: int
    complexity: int
    top_functions: tuple[FunctionComplexity, ...]
    """At most ``TOP``, the most complex first."""
    largest_modules: tuple[ModuleSize, ...]
    """At most ``TOP``, the one with the most code lines first; files with an error are left out."""
    errors: tuple[ParseError, ...]

    @property
    def most_complex(self) -> FunctionComplexity | None:
        """The most complex function, if the package has any."""
        return self.top_functions[0] if self.top_functions else None

    @property
    def max_complexity(self) -> int:
        """The complexity of the most complex function, zero without functions."""
        return self.most_complex.complexity if self.most_complex else 0

    @property
    def largest_module(self) -> ModuleSize | None:
        """The module with the most code lines, if any file could be parsed."""
        return self.largest_modules[0] if self.largest_modules else None


class PackageReport(CensusModel):
    """What leaves the flow: the figures of a package, and what the agent says about them."""

    metrics: PackageMetrics
    summary: str


class Totals(CensusModel):
    """Sums over all packages of a census."""

    packages: int = 0
    files: int = 0
    lines: LineCounts = LineCounts()
    functions: int = 0
    classes: int = 0
    complexity: int = 0
    errors: int = 0

    def labelled(self) -> tuple[tuple[str, int], ...]:
        """Each figure with the words it has in the report."""
        return (
            ("packages", self.packages),
            ("files", self.files),
            ("lines", self.lines.total),
            ("code lines", self.lines.code),
            ("comment lines", self.lines.comment),
            ("blank lines", self.lines.blank),
            ("functions", self.functions),
            ("classes", self.classes),
            ("complexity", self.complexity),
            ("not parsed", self.errors),
        )
