"""The arrows between the packages, and the rooms that do no I/O."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Rooms that only compute: no event loop, no files, no sockets, no processes, no clock of their own.
PURE_ROOMS = (
    "penguiflow/decide.py",
    "penguiflow/durable/arrivals.py",
    "penguiflow/durable/audit.py",
    "penguiflow/durable/envelope.py",
    "penguiflow/durable/fold.py",
    "penguiflow/durable/inputs.py",
    "penguiflow/durable/packing.py",
    "penguiflow/durable/redrive_plan.py",
    "penguiflow/durable/tokens.py",
    "penguiflow/durable/topology.py",
    "penguiflow/durable/unpacking.py",
    "penguiflow/durable/waterfall.py",
    "penguiflow/durable/waterfall_rows.py",
    "penguiflow/durable/waterfall_text.py",
    "penguiflow/durable/weight.py",
    "penguiflow/graph.py",
    "penguiflow/join.py",
    "penguiflow/retry.py",
    "penguiflow_nats/consumers.py",
    "penguiflow_nats/subjects.py",
    "penguiflow_nats/topology_diff.py",
    "penguiflow_nats/topology_plan.py",
)

IMPURE_MODULES = frozenset(
    {
        *("asyncio", "concurrent", "multiprocessing", "threading", "subprocess", "signal"),
        *("io", "os", "pathlib", "shutil", "tempfile", "socket", "selectors", "logging"),
        *("random", "secrets", "time", "nats"),
    }
)


def test_arrows_between_the_packages_hold() -> None:
    """The contracts stand in pyproject.toml."""
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports({}))"
    done = subprocess.run(
        [sys.executable, "-c", program.format("no_cache=True, no_logo=True")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("room", PURE_ROOMS)
def test_pure_room_does_no_io(room: str) -> None:
    tree = ast.parse((ROOT / room).read_text("utf-8"))
    found = [f"{room}:{line}: {name}" for line, name in imports(tree) if name in IMPURE_MODULES]
    assert not found, f"a pure room imports what does I/O: {found}"
    awaits = [
        f"{room}:{node.lineno}" for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)
    ]
    assert not awaits, f"a pure room has a coroutine: {awaits}"


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and top-level module of every import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, (node.module or "").partition(".")[0]
