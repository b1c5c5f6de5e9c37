"""`python -m tests.chaos.storm --seed 1`: a storm; ends with 0 when nothing was violated."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path

from tests.chaos.storm.storm import Storm, Weather


def main() -> int:
    """Run a storm and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.storm", description=__doc__)
    for each in fields(Weather):
        name = "--" + each.name.replace("_", "-")
        required = each.name == "seed"
        parser.add_argument(
            name, type=int, required=required, default=None if required else each.default
        )
    weather = Weather(**vars(parser.parse_args()))
    folder = Path(tempfile.mkdtemp(prefix="storm-"))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:7.1f} s] {text}", flush=True)

    figures = asyncio.run(Storm(weather, folder, say=say).run())
    for problem in figures.violations[:50]:
        print(f"violation: {problem}")
    print(f"storm: seed={weather.seed} replicas={weather.replicas} {figures.line()}", flush=True)
    if figures.violations:
        print(f"what the workers said: {folder / 'errors.txt'}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
