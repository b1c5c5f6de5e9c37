"""python -m benchmarks.commit_forms hops|memory|restart|window|replicas|chaos|all"""

from __future__ import annotations

import argparse
import signal
import sys

import uvloop

from . import chaos, hops, memory, replicas, window


async def run(options: argparse.Namespace) -> None:
    every = options.what == "all"
    if every or options.what == "hops":
        await hops.run(options.messages)
    if every or options.what in ("memory", "restart"):
        await memory.run(options.records, "all" if every else options.what)
    if every or options.what == "window":
        await window.run()
    if every or options.what == "replicas":
        await replicas.run()
    if every or options.what == "chaos":
        await chaos.run(options.seed, options.designs, options.traces, options.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.commit_forms", description=__doc__)
    tables = ["hops", "memory", "restart", "window", "replicas", "chaos", "all"]
    parser.add_argument("what", choices=tables)
    parser.add_argument("--messages", type=int, default=20_000, help="per form, in hops")
    parser.add_argument("--records", type=int, default=100_000, help="live records, in memory")
    parser.add_argument("--seed", type=int, default=11, help="of the faults, in chaos")
    parser.add_argument("--traces", type=int, default=1000, help="per design, in chaos")
    parser.add_argument("--seconds", type=float, default=60.0, help="of faults per design")
    parser.add_argument(
        "--designs", nargs="*", default=list(chaos.DESIGNS), choices=list(chaos.DESIGNS)
    )
    # A terminated run leaves as a finished one does: `finally` ends every process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
