"""Finds the flow that the user names: `package.module:attribute` or `folder/file.py:attribute`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from penguiflow.cli.errors import CommandError, UsageError
from penguiflow.flow import PenguiFlow
from penguiflow.registry import ModelRegistry

T = TypeVar("T")

_EXAMPLES = "name it as `package.module:flow` or `folder/file.py:flow`"


def load_flow(reference: str) -> PenguiFlow:
    """The flow behind a reference.

    Raises:
        UsageError: there is none.
        CommandError: its module raised while it was imported.
    """
    return load(reference, PenguiFlow, "a flow, the result of create(...)")


def load_registry(reference: str) -> ModelRegistry:
    """The registry behind a reference. Raises as `load_flow`."""
    return load(reference, ModelRegistry, "a ModelRegistry")


def load(reference: str, kind: type[T], what: str) -> T:
    """The object behind a reference, if it is of this kind. Raises as `load_flow`."""
    place, _, attribute = reference.rpartition(":")
    if not place or not attribute or "\\" in attribute or "/" in attribute:
        text = f"{reference!r} names no attribute of a module"
        raise UsageError(text, hint=_EXAMPLES)
    module = _from_file(Path(place)) if place.endswith(".py") else _from_name(place)
    found: object = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, kind):
        kind_found = "nothing" if found is None else f"a {type(found).__name__}"
        text = f"{reference!r} is {kind_found}; needed is {what}"
        raise UsageError(text, hint=_EXAMPLES)
    return found


def _from_name(name: str) -> ModuleType:
    _importable(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise _broken(name, error) from error
        text = f"there is no module {name!r} here or among the installed packages"
        raise UsageError(text, hint=_EXAMPLES) from error
    except Exception as error:
        raise _broken(name, error) from error


def _from_file(file: Path) -> ModuleType:
    """The module of a file, with what stands beside it importable, as when it is run."""
    if not file.is_file():
        text = f"there is no file {file}"
        raise UsageError(text, hint=_EXAMPLES)
    file = file.resolve()
    _importable(Path.cwd())
    folder, name = file.parent, file.stem
    while (folder / "__init__.py").is_file():
        folder, name = folder.parent, f"{folder.name}.{name}"
    _importable(folder)
    try:
        return importlib.import_module(name) if "." in name else _load(name, file)
    except Exception as error:
        raise _broken(str(file), error) from error


def _load(name: str, file: Path) -> ModuleType:
    """The module of this very file, whatever else in the path has its name."""
    known = sys.modules.get(name)
    if known is not None:
        if getattr(known, "__file__", None) == str(file):
            return known
        name = f"penguiflow_file_{name}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None  # noqa: S101 - the suffix is .py
    assert spec.loader is not None  # noqa: S101 - as above
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _broken(name: str, error: Exception) -> CommandError:
    return CommandError(f"{name} cannot be imported: {type(error).__name__}: {error}")


__all__ = ["load", "load_flow", "load_registry"]
