"""A tenant that attacks all the time slows another one by no more than a fifth."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

from tests.integration.tenants.ring import Ring
from tests.integration.tenants.test_hostile import ring

ROOT = Path(__file__).resolve().parents[3]
WINDOWS = 10
"""Of half a second, attacked and quiet in turn, so that both see the same machine."""


async def ratio(made: Ring, attacker: int, start: int) -> float:
    """How much longer a write of the victim takes while it is attacked."""
    await made.victim_js.purge_stream(made.names.log_stream)
    took: dict[bool, list[float]] = {True: [], False: []}
    for window in range(WINDOWS):
        attacked = window % 2 == 1
        os.kill(attacker, signal.SIGCONT if attacked else signal.SIGSTOP)
        await asyncio.sleep(0.05)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            start += 1
            began = time.perf_counter()
            await made.victim_js.append(f"{made.names.log_root}.in.n{start}._.s", b"x" * 100)
            took[attacked].append(time.perf_counter() - began)
    return median(took[True]) / median(took[False])


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_attacks_slow_nobody_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with ring(monkeypatch, tmp_path, shared=False) as made:
        command = [sys.executable, "-m", "tests.integration.tenants.noise"]
        process = subprocess.Popen([*command, made.site.server.url, "0.05"], cwd=ROOT)
        try:
            await asyncio.sleep(2.0)  # it has to import and connect
            assert process.poll() is None
            # One round may coincide with something else on the machine; most do not.
            ratios = [await ratio(made, process.pid, n * 1_000_000) for n in range(3)]
        finally:
            process.kill()
            process.wait()
        assert median(ratios) <= 1.2, ratios
