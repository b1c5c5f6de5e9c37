"""Where the source files are, and which of them make up a package."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from census_models import Package, SourceFile

ROOT_VARIABLE = "CENSUS_ROOT"
"""Environment variable that points the census at another tree; worker processes inherit it."""

TOP_LEVEL = "(top level)"
"""The name of the package made of the files directly below the root."""

EXCLUDED = frozenset({"site-packages", "dist-packages", "__pycache__"})
"""Directories that are not the standard library, or hold no source."""


def census_root() -> Path:
    """The tree to count: the standard library of the running Python, unless overridden."""
    return Path(os.environ.get(ROOT_VARIABLE) or sysconfig.get_path("stdlib"))


def discover_packages(root: Path, *, limit: int | None = None) -> list[Package]:
    """All packages below ``root``, in an order that does not depend on the file system.

    A package is one directory that holds ``.py`` files, whether or not ``__init__.py`` is one of
    them; its sub-directories are packages of their own. Linked directories are not entered.

    Args:
        root: the directory to start in; it is itself the package ``(top level)``.
        limit: take only that many packages, the first ones in the order of their paths.
    """
    packages = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(set(subfolders) - EXCLUDED)
        # A dangling link is no file: distributions of Python do ship some.
        files = sorted(n for n in names if n.endswith(".py") and Path(folder, n).is_file())
        if files:
            packages.append(_package(Path(folder).relative_to(root), files))
    packages.sort(key=lambda package: (package.name != TOP_LEVEL, package.name))
    return packages[:limit]


def split_package(package: Package) -> list[SourceFile]:
    """One message per file of the package, each saying how many there are."""
    return [
        SourceFile(package=package.name, path=path, files_in_package=len(package.files))
        for path in package.files
    ]


def read_source(root: Path, file: SourceFile) -> bytes:
    """The bytes of one file.

    Raises:
        OSError: when it is not there or not readable. Unlike bad source text that is a failure of
            the machine, not a property of the library, and worth another attempt.
    """
    return (root / file.path).read_bytes()


def _package(folder: Path, files: list[str]) -> Package:
    name = ".".join(folder.parts) or TOP_LEVEL
    return Package(name=name, files=tuple((folder / file).as_posix() for file in files))
