"""The house rules that no linter has, each one a test by the rule's name.

The last part reads what git tracks, and the messages of the commits, so that a commit stays clean.
"""

from __future__ import annotations

import ast
import itertools
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path, PurePath

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("penguiflow", "penguiflow_nats", "penguiflow_a2a")

# Who may break a rule, and why. A path ending in "/" means all below it.

READS_OR_WAITS_ON_THE_SYSTEM_CLOCK = {
    "penguiflow/clock.py": "it is the clock that everybody else is handed",
    "penguiflow/telemetry/light.py": "spans are on the system's clock, as those of other libraries",
}

SETTLES = {
    "penguiflow/settle.py": "the one place that turns an outcome into ack, nak or term",
    "penguiflow/testing/faulty_consumption.py": "plays a bad line between log and worker",
    "penguiflow_nats/puller.py": "hands back what it could not deliver to anybody",
}

PRINTS = {
    "penguiflow/admin.py": "its output is what it is run for",
}

PRINTING_FOLDERS = {"cli", "commands"}

MAXIMUM_LINES = {"package": 400, "test": 500, "function": 60}
MAXIMUM_BYTES = 300_000

LOCK_FILES = re.compile(
    r"(.*\.lock|pylock[^/]*\.toml|package-lock\.json|pnpm-lock\.yaml|npm-shrinkwrap\.json)"
)

# Put together here, so that this file does not name the hosts itself.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("files", "pythonhosted", "org"),
        ("pypi", "org/simple"),
        ("registry", "npmjs", "org"),
    )
)


# ---- reading the code ----------------------------------------------------------------------------


@cache
def package_files() -> tuple[Path, ...]:
    return tuple(path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py")))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def inside(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_allowed(path: Path, allowed: dict[str, str]) -> bool:
    name = inside(path)
    return any(name == each or (each.endswith("/") and name.startswith(each)) for each in allowed)


def place(path: Path, node: ast.expr | ast.stmt) -> str:
    return f"{inside(path)}:{node.lineno}"


def called(node: ast.AST) -> str:
    """What a call names: `print`, `time.time`, or `?.name` on something longer; else nothing."""
    if not isinstance(node, ast.Call):
        return ""
    if isinstance(node.func, ast.Name):
        return node.func.id
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        return f"{owner.id if isinstance(owner, ast.Name) else '?'}.{node.func.attr}"
    return ""


def calls(files: tuple[Path, ...], broken: Callable[[str, ast.Call], bool]) -> Iterator[str]:
    """Places of the calls that break a rule."""
    for path in files:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and broken(called(node), node):
                yield f"{place(path, node)}: {ast.unparse(node)[:80]}"


def refuse(rule: str, places: Iterator[str]) -> None:
    found = list(places)
    if found:
        pytest.fail("\n  ".join([f"{rule}:", *found]), pytrace=False)


# ---- size ----------------------------------------------------------------------------------------


def test_file_has_at_most_400_lines_and_a_test_500() -> None:
    def too_long() -> Iterator[str]:
        files = [(path, MAXIMUM_LINES["package"]) for path in package_files()]
        files += [(path, MAXIMUM_LINES["package"]) for path in (ROOT / "tools").glob("*.py")]
        files += [(path, MAXIMUM_LINES["test"]) for path in (ROOT / "tests").rglob("*.py")]
        for path, limit in files:
            lines = len(path.read_text("utf-8").splitlines())
            if lines > limit:
                yield f"{inside(path)}:{limit}: {lines} lines"

    refuse("a file is too long; is there a second noun inside?", too_long())


def test_function_has_at_most_60_lines() -> None:
    def too_long() -> Iterator[str]:
        for path in package_files():
            for node in ast.walk(parsed(path)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines = (node.end_lineno or node.lineno) - node.lineno + 1
                    if lines > MAXIMUM_LINES["function"]:
                        yield f"{place(path, node)}: {node.name} has {lines} lines"

    refuse("a function is too long", too_long())


# ---- objects -------------------------------------------------------------------------------------


def test_no_object_asks_itself_what_it_has() -> None:
    def broken(name: str, call: ast.Call) -> bool:
        first = call.args[0] if call.args else None
        return name == "hasattr" and isinstance(first, ast.Name) and first.id == "self"

    refuse("hasattr(self, ...): set the attribute in __init__", calls(package_files(), broken))


def test_object_setattr_only_where_a_class_that_freezes_itself_is_built() -> None:
    def broken() -> Iterator[str]:
        for path in package_files():
            allowed = set(map(id, calls_that_build_a_frozen_self(parsed(path))))
            for node in ast.walk(parsed(path)):
                if called(node) == "object.__setattr__" and id(node) not in allowed:
                    yield f"{inside(path)}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)[:80]}"

    refuse("object.__setattr__ on something else than its own frozen self", broken())


def calls_that_build_a_frozen_self(tree: ast.Module) -> Iterator[ast.Call]:
    """What may set `self` in spite of all: a frozen dataclass after its __init__, and the
    __init__ of a class that refuses to be changed by a `__setattr__` of its own."""
    for owner in ast.walk(tree):
        if not isinstance(owner, ast.ClassDef):
            continue
        methods = {each.name: each for each in owner.body if isinstance(each, ast.FunctionDef)}
        builders = []
        if any(map(is_frozen_dataclass, owner.decorator_list)):
            builders.append(methods.get("__post_init__"))
        if "__setattr__" in methods:
            builders.append(methods.get("__init__"))
        for builder in filter(None, builders):
            for node in ast.walk(builder):
                if isinstance(node, ast.Call) and node.args and ast.unparse(node.args[0]) == "self":
                    yield node


def is_frozen_dataclass(decorator: ast.expr) -> bool:
    return called(decorator).split(".")[-1] == "dataclass" and any(
        keyword.arg == "frozen" and ast.unparse(keyword.value) == "True"
        for keyword in getattr(decorator, "keywords", [])
    )


# ---- effects -------------------------------------------------------------------------------------


def test_packages_do_not_print() -> None:
    files = tuple(
        path
        for path in package_files()
        if not is_allowed(path, PRINTS) and not PRINTING_FOLDERS & set(path.relative_to(ROOT).parts)
    )
    refuse("print: log it, or return it", calls(files, lambda name, _: name == "print"))


def test_core_takes_its_time_from_the_clock() -> None:
    files = tuple(
        path
        for path in package_files()
        if inside(path).startswith("penguiflow/")
        and not is_allowed(path, READS_OR_WAITS_ON_THE_SYSTEM_CLOCK)
    )

    def broken(name: str, call: ast.Call) -> bool:
        # sleep(0) takes no time: it lets others run.
        return name == "time.time" or (
            name == "asyncio.sleep" and ast.unparse(call).partition("(")[2] != "0)"
        )

    imported = (
        f"{place(path, node)}: {ast.unparse(node)}"
        for path in files
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if (node.module, alias.name) in {("time", "time"), ("asyncio", "sleep")}
    )
    places = itertools.chain(calls(files, broken), imported)
    refuse("use a penguiflow.clock.Clock, which tests can move", places)


def test_only_settle_acks_naks_and_terms() -> None:
    def broken() -> Iterator[str]:
        for path in package_files():
            if is_allowed(path, SETTLES):
                continue
            passed_on = set(map(id, calls_inside_settling_methods(parsed(path))))
            for node in ast.walk(parsed(path)):
                if is_settling(node) and id(node) not in passed_on:
                    yield f"{inside(path)}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)[:80]}"

    refuse("settle through penguiflow/settle.py", broken())


SETTLING = {"ack", "nak", "term"}


def is_settling(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in SETTLING
    )


def calls_inside_settling_methods(tree: ast.Module) -> Iterator[ast.AST]:
    """An implementation of a delivery has these three methods, and may pass a call on in them."""
    for method in ast.walk(tree):
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and method.name in SETTLING:
            yield from ast.walk(method)


def test_allow_lists_name_files_that_exist() -> None:
    lists = READS_OR_WAITS_ON_THE_SYSTEM_CLOCK | SETTLES
    refuse("an allow-list names nothing", (each for each in lists if not (ROOT / each).exists()))


# ---- what is tracked -----------------------------------------------------------------------------


def git(*arguments: str) -> str:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-c", "safe.directory=*", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return done.stdout.decode("utf-8", "replace")


def tracked() -> list[Path]:
    paths = [ROOT / name for name in git("ls-files", "-z").split("\0") if name]
    return [path for path in paths if path.is_file()]  # a file may be deleted and not committed yet


def lines_with_a_host(text: str) -> Iterator[int]:
    for number, line in enumerate(text.splitlines(), start=1):
        if any(host in line for host in REGISTRY_HOSTS):
            yield number


def test_no_tracked_file_is_over_300_kb() -> None:
    sizes = ((inside(path), path.stat().st_size) for path in tracked())
    refuse("a file is too big", (f"{name}: {size}" for name, size in sizes if size > MAXIMUM_BYTES))


def test_no_lock_file_is_tracked() -> None:
    names = (inside(path) for path in tracked())
    refuse(
        "a lock file records the hosts of package registries",
        (name for name in names if LOCK_FILES.fullmatch(PurePath(name).name)),
    )


def test_no_tracked_text_names_a_registry_host() -> None:
    refuse(
        "leave the registry to pip's own configuration",
        (
            f"{inside(path)}:{number}"
            for path in tracked()
            for number in lines_with_a_host(path.read_bytes().decode("utf-8", "ignore"))
        ),
    )


def test_no_commit_message_names_a_registry_host() -> None:
    refuse(
        "leave the registry to pip's own configuration",
        (
            entry.splitlines()[0]
            for entry in git("log", "--format=%h %B%x00").split("\0")
            if any(lines_with_a_host(entry))
        ),
    )
