"""The storm: workers killed and paused, servers killed; then every accepted trace is judged.

The long one is what `docs/guarantees.md` reports; `python -m tests.chaos.storm` runs it by hand.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def storm(*arguments: str, timeout: float) -> dict[str, int]:
    """Run a storm; returns its figures."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.storm", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}"
    line = next(x for x in done.stdout.splitlines() if x.startswith("storm: "))
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)(?= |$)", line)}


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_a_short_storm_violates_nothing() -> None:
    size = ("--traces", "200", "--kills", "6", "--pauses", "2", "--servers", "1")
    figures = storm("--seed", "1", *size, "--long-pauses", "0", timeout=280)
    assert (figures["accepted"], figures["violations"]) == (200, 0)
    kinds = ("worker_kills", "worker_pauses", "server_kills")
    assert [figures[kind] for kind in kinds] == [6, 2, 1]


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_a_storm_violates_nothing(seed: str) -> None:
    figures = storm("--seed", seed, timeout=3500)
    assert (figures["accepted"], figures["violations"]) == (10_000, 0)
    assert figures["worker_kills"] >= 200
    assert figures["worker_pauses"] >= 50
    assert figures["server_kills"] >= 20


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_storm_over_three_replicas_violates_nothing() -> None:
    size = ("--traces", "1500", "--kills", "40", "--pauses", "10", "--servers", "8")
    figures = storm("--seed", "4", "--replicas", "3", *size, "--long-pauses", "0", timeout=1700)
    assert (figures["accepted"], figures["violations"]) == (1500, 0)
