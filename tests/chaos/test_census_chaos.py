"""The census under fire: workers and the server are killed again and again, by a fixed seed.

Afterwards every file was counted exactly once by what the server holds, and the report is that of a
plain loop. The submission keeps pace with the kills, so that each of them finds something to harm.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "stdlib_census"
SEED = 20_241
PACKAGES, LARGEST = 220, 14


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A library of many small packages, the same for every run."""
    chooser = random.Random(SEED)
    root = tmp_path / "library"
    for number in range(PACKAGES):
        package = root / f"p{number:03}"
        package.mkdir(parents=True)
        for file in range(chooser.randrange(1, LARGEST + 1)):
            (package / f"m{file}.py").write_text(source(chooser))
    return root


def source(chooser: random.Random) -> str:
    """A module that takes a few milliseconds to count."""
    functions = (
        f"def f{number}(a):\n"
        + "".join(f"    if a > {n}:\n        a -= {n}\n" for n in range(chooser.randrange(1, 30)))
        + "    return a\n"
        for number in range(chooser.randrange(1, 25))
    )
    return '"""A module."""\n\n# counted\n' + "\n".join(functions)


def run(script: str, tree: Path, *arguments: str, timeout: float) -> str:
    """Run a program of the example; returns what it said."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PENGUIFLOW_")}
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / script), *arguments],
        env={**env, "CENSUS_ROOT": str(tree), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def under_fire(tree: Path, tmp_path: Path, *, workers: int, servers: int, timeout: float) -> None:
    files = sum(1 for _ in tree.rglob("*.py"))
    chaos = ("--chaos", str(workers), "--server-kills", str(servers), "--seed", str(SEED))
    said = run("flow.py", tree, "--out", str(tmp_path / "report"), *chaos, timeout=timeout)
    assert said.count("killed the server") == servers
    assert len(re.findall(r"killed worker \d+ \(pid \d+\) with SIGKILL", said)) == workers
    counts = f"sent={files} settled={files} lost=0 twice=0 killed={workers}"
    assert re.fullmatch(rf"audit: {counts} trace=[0-9a-f]{{32}}", said.splitlines()[-1]), said
    run("census_direct.py", tree, str(tmp_path / "direct"), timeout=120)
    report, direct = (tmp_path / name / "report.md" for name in ("report", "direct"))
    assert report.read_text() == direct.read_text()


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_killed_workers_and_six_killed_servers_lose_nothing_and_double_nothing(
    tree: Path, tmp_path: Path
) -> None:
    under_fire(tree, tmp_path, workers=50, servers=6, timeout=500)


@pytest.mark.chaos
@pytest.mark.timeout(180)
def test_a_few_kills_of_each_kind_lose_nothing_and_double_nothing(
    tree: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    for package in sorted(tree.iterdir())[:30]:
        package.rename(small / package.name)
    under_fire(small, tmp_path, workers=5, servers=2, timeout=150)
