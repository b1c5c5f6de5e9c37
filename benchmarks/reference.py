"""The local runtime beside the reference implementation: `python -m benchmarks reference`.

Installs the reference by version into an environment of its own and runs the very same scripts,
`benchmarks/local.py` and `benchmarks/memory.py`, with both, in turn, so that a slow minute of the
machine meets each.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import venv
from pathlib import Path

VERSION = "3.11.2"
_ROOT = Path(__file__).resolve().parent.parent
_HOME = _ROOT / ".cache" / f"reference-{VERSION}"
_SCRIPT = _ROOT / "benchmarks" / "local.py"
_MEMORY = _ROOT / "benchmarks" / "memory.py"

Rows = dict[tuple[str, int], tuple[float, float]]
"""(case, nodes) -> (messages per second, CPU microseconds per message)."""


def reference_python() -> Path:
    """The interpreter of the environment with the reference, made if it is missing."""
    python = _HOME / "bin" / "python"
    if not (_HOME / "ready").exists():
        venv.create(_HOME, with_pip=True, clear=True)
        requirement = f"penguiflow=={VERSION}"
        subprocess.run([python, "-m", "pip", "install", "-q", requirement], check=True)
        (_HOME / "ready").touch()
    return python


def measure(python: Path) -> Rows:
    """One run of the script."""
    rows: Rows = {}
    for line in _lines(python, _SCRIPT, "--quick"):
        name, length, rate, cpu = line[:12].strip(), *line[12:].split()[:3]
        rows[name, int(length)] = (float(rate.replace(",", "")), float(cpu))
    return rows


def live_trace_bytes(python: Path) -> dict[str, float]:
    """What each case of a live trace takes."""
    rows = [(line[:12].strip(), line[12:].split()[0]) for line in _lines(python, _MEMORY)]
    return {case: float(size.replace(",", "")) for case, size in rows}


def _lines(python: Path, *script: object) -> list[str]:
    """What a script prints under its heading. It runs in another folder, and the reference without
    `PYTHONPATH`, so that only what is installed there is seen."""
    is_ours = python == Path(sys.executable)
    environment = {k: v for k, v in os.environ.items() if is_ours or k != "PYTHONPATH"}
    command = [str(python), *map(str, script)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=_HOME, env=environment
    )
    return done.stdout.splitlines()[1:]


def run(rounds: int = 3) -> None:
    """Measure both and print the ratios."""
    theirs_python = reference_python()
    ours: list[Rows] = []
    theirs: list[Rows] = []
    for _ in range(rounds):
        theirs.append(measure(theirs_python))
        ours.append(measure(Path(sys.executable)))
    print(f"reference: penguiflow {VERSION}; medians of {rounds} interleaved runs\n")
    print("| case | nodes | ours, msg/s | reference, msg/s | ratio | ratio of CPU |")
    print("|---|---|---|---|---|---|")
    for case, length in ours[0]:
        rates = [statistics.median(rows[case, length][0] for rows in got) for got in (ours, theirs)]
        cpus = [statistics.median(rows[case, length][1] for rows in got) for got in (ours, theirs)]
        print(
            f"| {case} | {length} | {rates[0]:,.0f} | {rates[1]:,.0f} "
            f"| {rates[0] / rates[1]:.1f} | {cpus[1] / cpus[0]:.1f} |"
        )
    mine, other = live_trace_bytes(Path(sys.executable)), live_trace_bytes(theirs_python)
    print("\n| a live trace | ours, bytes | reference, bytes | ratio |")
    print("|---|---|---|---|")
    for name, size in mine.items():
        print(f"| {name} | {size:,.0f} | {other[name]:,.0f} | {size / other[name]:.2f} |")


if __name__ == "__main__":
    run()
