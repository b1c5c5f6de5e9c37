"""From source to figures: one file, one package, the whole library. No I/O, no flow."""

from __future__ import annotations

import ast
import io
import threading
import tokenize
import warnings
from collections.abc import Iterable, Sequence

from census_lines import count_lines
from census_models import (
    TOP,
    FunctionComplexity,
    LineCounts,
    ModuleMetrics,
    ModuleSize,
    PackageMetrics,
    ParseError,
    SourceFile,
    Totals,
)
from census_walk import scan_tree

# ValueError: null bytes, and bytes that the declared encoding does not have.
# RecursionError, MemoryError: nesting that is too deep for the parser.
_BAD_SOURCE = (SyntaxError, ValueError, RecursionError, MemoryError)

# `catch_warnings` swaps the filters of the whole process; two threads in it at once could leave
# the wrong ones behind. Parsing holds the interpreter lock anyway, so waiting costs nothing.
_parsing = threading.Lock()


def decode_source(data: bytes) -> str:
    """Decode as ``tokenize.open`` does: byte order mark, coding cookie, else UTF-8.

    Raises:
        SyntaxError: the declared encoding is unknown, or contradicts the byte order mark.
        UnicodeDecodeError: the bytes are not in that encoding.
    """
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return io.TextIOWrapper(io.BytesIO(data), encoding).read()


def parse_source(text: str) -> ast.Module:
    """Parse without a word about invalid escapes and the like: that is old code, not our news."""
    with _parsing, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


def measure(file: SourceFile, data: bytes) -> ModuleMetrics:
    """The figures of one file; source that cannot be decoded or parsed gives an ``error``."""
    try:
        text = decode_source(data)
        tree = parse_source(text)
    except _BAD_SOURCE as error:
        return _metrics(file, error=_describe(error))
    scan = scan_tree(tree)
    functions = [
        FunctionComplexity(name=f.name, path=file.path, line=f.line, complexity=f.complexity)
        for f in scan.functions
    ]
    return _metrics(
        file,
        lines=count_lines(text, scan.strings),
        functions=len(functions),
        classes=scan.classes,
        complexity=sum(function.complexity for function in functions),
        top_functions=most_complex(functions),
    )


def combine(modules: Iterable[ModuleMetrics]) -> PackageMetrics:
    """The figures of a package from those of all its files, in whatever order they arrive.

    Raises:
        ValueError: when it is not exactly one result for each file of exactly one package. A join
            that lost, doubled or mixed up a file must not go unnoticed.
    """
    modules = sorted(modules, key=lambda module: module.path)
    package = _only_package(modules)
    lines = sum((module.lines for module in modules), start=LineCounts())
    return PackageMetrics(
        package=package,
        files=len(modules),
        lines=lines,
        functions=sum(module.functions for module in modules),
        classes=sum(module.classes for module in modules),
        complexity=sum(module.complexity for module in modules),
        top_functions=most_complex(f for module in modules for f in module.top_functions),
        largest_modules=largest(
            ModuleSize(path=m.path, code=m.lines.code) for m in modules if m.error is None
        ),
        errors=tuple(
            ParseError(path=m.path, error=m.error) for m in modules if m.error is not None
        ),
    )


def total(packages: Sequence[PackageMetrics]) -> Totals:
    """Sums over all packages."""
    return Totals(
        packages=len(packages),
        files=sum(package.files for package in packages),
        lines=sum((package.lines for package in packages), start=LineCounts()),
        functions=sum(package.functions for package in packages),
        classes=sum(package.classes for package in packages),
        complexity=sum(package.complexity for package in packages),
        errors=sum(len(package.errors) for package in packages),
    )


def most_complex(functions: Iterable[FunctionComplexity]) -> tuple[FunctionComplexity, ...]:
    """The ``TOP`` most complex functions; equal ones by path and line."""
    ordered = sorted(functions, key=lambda f: (-f.complexity, f.path, f.line, f.name))
    return tuple(ordered[:TOP])


def largest(modules: Iterable[ModuleSize]) -> tuple[ModuleSize, ...]:
    """The ``TOP`` modules with the most code lines; equal ones by path."""
    return tuple(sorted(modules, key=lambda module: (-module.code, module.path))[:TOP])


def _metrics(file: SourceFile, **figures: object) -> ModuleMetrics:
    return ModuleMetrics.model_validate({**file.model_dump(), **figures})


def _describe(error: BaseException) -> str:
    """One line, the same on every machine: no path, no memory address."""
    if not isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    where = f" (line {error.lineno})" if error.lineno else ""
    return f"{type(error).__name__}: {error.msg}{where}"


def _only_package(modules: Sequence[ModuleMetrics]) -> str:
    expected = {(module.package, module.files_in_package) for module in modules}
    if len(expected) != 1:
        found = ", ".join(sorted(f"{name} ({files})" for name, files in expected))
        message = f"files of exactly one package are needed, got: {found or 'nothing'}"
        raise ValueError(message)
    package, files = expected.pop()
    distinct = len({module.path for module in modules})
    if not len(modules) == distinct == files:
        message = f"{package} has {files} files, got {len(modules)} results for {distinct} of them"
        raise ValueError(message)
    return package
