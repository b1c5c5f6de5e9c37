"""The durable hop on a server that syncs every write to the disk: ours beside the naive one.

`python -m benchmarks sync-always` measures, interleaved in one run on one machine, on a server with
`sync_interval: always`, the safe setting for a single replica:

    naive       fetch(1), js.publish with a message id, ack: as the client's documentation teaches
    ours        a node of a durable flow on the worker, one write per record
    grouped     the same with the writes that wait sent as one batch, which is synced once

The disk decides: only the ratios of one run mean anything.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Awaitable, Callable

from benchmarks.commit_forms.hops import naive_hops
from benchmarks.hop import Sample, Stopwatch, hop_on
from penguiflow.cli.memory import settle_collector
from penguiflow_nats import group_commit
from penguiflow_nats.server import EmbeddedServer

SYNCED = "jetstream {{ store_dir: {folder!r}, sync_interval: always }}"


def synced_server(folder: str) -> EmbeddedServer:
    """A server that syncs every write, with its store in the folder."""
    return EmbeddedServer(store_dir=folder, config=SYNCED.format(folder=folder))


async def naive_on(server: EmbeddedServer, count: int) -> Sample:
    """One message at a time, as a first version would do it."""
    sample: Sample = await naive_hops(server.url, count, lambda: Stopwatch(server.pid or 0))
    return sample


async def one_by_one(server: EmbeddedServer, count: int) -> Sample:
    """Our hop without batches."""
    slow, group_commit.SLOW = group_commit.SLOW, 0.0
    try:
        return await hop_on(server, count)
    finally:
        group_commit.SLOW = slow


CASES: dict[str, tuple[Callable[[EmbeddedServer, int], Awaitable[Sample]], int]] = {
    "naive": (naive_on, 1_500),
    "ours": (one_by_one, 4_000),
    "grouped": (hop_on, 15_000),
}
"""What is measured, and on how many messages: enough for some seconds each."""


async def run(rounds: int = 3) -> None:
    """Measure and print a table."""
    settle_collector()
    samples: dict[str, list[Sample]] = {name: [] for name in CASES}
    for _ in range(rounds):  # interleaved, so that a slow minute of the disk meets each
        for name, (measured, count) in CASES.items():
            with tempfile.TemporaryDirectory() as folder:
                async with synced_server(folder) as server:
                    samples[name].append(await measured(server, count))
    medians = {name: statistics.median(s.rate for s in got) for name, got in samples.items()}
    print("| hop | x naive | hops/s | low-high | client us | server us |")
    print("|---|---|---|---|---|---|")
    for name, got in samples.items():
        rates = sorted(s.rate for s in got)
        print(
            f"| {name} | {medians[name] / medians['naive']:.1f} | {medians[name]:,.0f} "
            f"| {rates[0]:,.0f}-{rates[-1]:,.0f} "
            f"| {statistics.median(s.client_us for s in got):.0f} "
            f"| {statistics.median(s.server_us for s in got):.0f} |"
        )


if __name__ == "__main__":
    asyncio.run(run())
