"""Runs every peer in turn, on a fresh server each, and prints ratios.

Peers are installed by version into environments of their own under `.cache`.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from penguiflow_nats.server import EmbeddedServer

_HERE = Path(__file__).resolve().parent
_CACHE = _HERE.parent.parent / ".cache"
_STAGES = (1, 3)

Figures = dict[str, float]


@dataclass(frozen=True)
class Peer:
    """What is measured: a script, and what it needs installed."""

    name: str
    script: str
    requirements: tuple[str, ...] = ()

    def python(self) -> Path:
        """The interpreter of its environment, made if it is missing."""
        if not self.requirements:
            return Path(sys.executable)
        home = _CACHE / f"peer-{self.name}"
        ready = home / "ready"
        wanted = "\n".join(self.requirements)
        if not ready.exists() or ready.read_text() != wanted:
            venv.create(home, with_pip=True, clear=True)
            install = [home / "bin" / "python", "-m", "pip", "install", "-q", *self.requirements]
            subprocess.run(install, check=True)
            ready.write_text(wanted)
        return home / "bin" / "python"


OURS = Peer("ours", "ours_stages.py")
PEERS = (
    Peer("FastStream", "faststream_stages.py", ("faststream[nats]==0.7.8", "nats-py==2.16.0")),
    Peer(
        "taskiq-nats",
        "taskiq_stages.py",
        ("taskiq==0.13.0", "taskiq-nats==0.7.0", "nats-py==2.16.0"),
    ),
    Peer("walnats", "walnats_stages.py", ("walnats==1.2.6", "nats-py==2.16.0")),
)


async def _measured(peer: Peer, stages: int, count: int) -> Figures:
    async with EmbeddedServer() as server:
        command = [peer.python(), _HERE / peer.script, "--url", server.url]
        command += ["--stages", str(stages), "--count", str(count)]
        own = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        path = {"PYTHONPATH": os.environ.get("PYTHONPATH", str(_HERE.parent.parent))}
        environment = own if peer.requirements else {**own, **path}
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        out, err = await process.communicate()
        lines = out.decode().strip().splitlines()
        if process.returncode or not lines:
            msg = f"{peer.name} failed:\n{err.decode()[-2000:]}"
            raise RuntimeError(msg)
        figures: Figures = json.loads(lines[-1])
        return figures


def _median(samples: list[Figures], name: str) -> float:
    return statistics.median(sample[name] for sample in samples)


async def run(count: int = 20_000, rounds: int = 3) -> None:
    """Measure and print a table."""
    got: dict[tuple[str, int], list[Figures]] = {}
    for _ in range(rounds):  # interleaved, so that a slow minute of the machine meets each
        for peer in (OURS, *PEERS):
            for stages in _STAGES:
                figures = await _measured(peer, stages, count)
                got.setdefault((peer.name, stages), []).append(figures)
    print(f"{count} messages of 256 bytes, one worker process; medians of {rounds} rounds\n")
    print("| | stages | messages/s | ours is | CPU us | p50 ms | p99 ms | ours p50 is |")
    print("|---|---|---|---|---|---|---|---|")
    for (name, stages), samples in sorted(got.items(), key=lambda item: item[0][1]):
        ours = got[OURS.name, stages]
        rate, p50 = _median(samples, "rate"), _median(samples, "p50_ms")
        print(
            f"| {name} | {stages} | {rate:,.0f} | x {_median(ours, 'rate') / rate:.1f} "
            f"| {_median(samples, 'cpu_us'):.0f} | {p50:.2f} | {_median(samples, 'p99_ms'):.2f} "
            f"| x {_median(ours, 'p50_ms') / p50:.2f} |"
        )


if __name__ == "__main__":
    asyncio.run(run())
