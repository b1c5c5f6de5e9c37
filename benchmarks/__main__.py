"""`python -m benchmarks [name ...]`: runs the benchmarks, all by default.

a2a         A2A servers side by side: sends, streams, followers
backlog     throughput, memory and restart with 1,000 to 1,000,000 inputs waiting
cancel      from the call of a cancel until the last running node and remote task has ended
fairness    one tenant's single messages beside another one's backlog of 100,000
hop         the durable hop beside three hand-written ones
local       the runtime in one process
reference   the same beside the reference implementation, installed by version
peers       stages of durable work beside FastStream, taskiq-nats and walnats
remote      calls of agents and their streams, beside bare NATS and server-sent events
state       the state store: saving, and histories beside many foreign events
sync-always the durable hop on a server that syncs every write, beside a naive one
telemetry   what traces cost on the saturated hop: none, not sampled, all exported
"""

from __future__ import annotations

import asyncio
import runpy
import sys
from collections.abc import Callable

from benchmarks import (
    a2a,
    backlog,
    cancel,
    fairness,
    hop,
    peers,
    reference,
    remote,
    state,
    sync_always,
    telemetry,
)


def _a2a() -> None:
    asyncio.run(a2a.run())


def _backlog() -> None:
    asyncio.run(backlog.run())


def _cancel() -> None:
    asyncio.run(cancel.run())


def _fairness() -> None:
    asyncio.run(fairness.run())


def _hop() -> None:
    asyncio.run(hop.run())


def _local() -> None:
    sys.argv = ["benchmarks/local.py"]
    runpy.run_module("benchmarks.local", run_name="__main__")


def _remote() -> None:
    asyncio.run(remote.run())


def _state() -> None:
    asyncio.run(state.run())


def _peers() -> None:
    asyncio.run(peers.run())


def _sync_always() -> None:
    asyncio.run(sync_always.run())


BENCHMARKS: dict[str, Callable[[], None]] = {
    "a2a": _a2a,
    "backlog": _backlog,
    "cancel": _cancel,
    "fairness": _fairness,
    "hop": _hop,
    "local": _local,
    "reference": reference.run,
    "peers": _peers,
    "remote": _remote,
    "state": _state,
    "sync-always": _sync_always,
    "telemetry": telemetry.run,
}


def main(names: list[str]) -> int:
    """Run the named benchmarks; 2 when a name is unknown."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
        return 2
    for name in names or list(BENCHMARKS):
        print(f"\n## {name}\n", flush=True)
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
