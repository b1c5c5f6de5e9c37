"""How cost grows with what waits: throughput, memory and restart at 1,000 to 1,000,000 inputs.

`python -m benchmarks backlog` submits that many traces to a flow of one node, kills the server and
starts it again, and then lets one worker take the first of them. Everything is stored on disk, one
replica, the server's default sync.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.hop import WINDOW, hop_flow
from penguiflow.cli.memory import settle_collector
from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.envelope import VERSION, Envelope, encode
from penguiflow.durable.log import Key, Kind
from penguiflow.durable.topology import flow_token
from penguiflow.types import Headers, Message
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.runtime import connected, worker
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.streams import Storage

SIZES = (1_000, 10_000, 100_000, 1_000_000)
MEASURED = 10_000
"""Inputs that are worked on, of each backlog; all of them when there are fewer."""
_BATCH = 500
_LOG = 8 * 1024**3


@dataclass(frozen=True)
class Sample:
    """What one backlog costs."""

    size: int
    rate: float
    server_bytes: float
    """Memory of the server per live trace."""
    worker_bytes: float
    """Memory that the worker took in work, in all."""
    restart: float
    """Seconds from the start of a killed server until it answers."""


def resident(pid: int | str) -> int:
    """Bytes of memory that a process has."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


async def fill(log: JetStreamLog, size: int) -> None:
    """Submit traces as a client does, with the message packed once."""
    message = Message(payload="x" * 256, headers=Headers(tenant="default"))
    output = ValueCodec().pack_output(message, ("hand_on",), message.trace_id)

    async def submit() -> None:
        trace = secrets.token_hex(16)
        own = msgspec.structs.replace(output, trace_id=trace)
        key = Key(Kind.INGRESS, trace, input=secrets.token_hex(16))
        envelope = Envelope(
            v=VERSION,
            tenant=log.tenant,
            flow=log.flow,
            trace=trace,
            input=key.input,
            outputs=(own,),
            client="bench",
            submitted=time.time(),
        )
        await log.append(key, encode(envelope), absent=Key(Kind.END, trace))

    for start in range(0, size, _BATCH):
        await asyncio.gather(*(submit() for _ in range(min(_BATCH, size - start))))


async def measure(size: int) -> Sample:
    """Fill, kill, restart, work."""
    flow = hop_flow()
    name = flow_token(flow.graph, flow.name, flow.version)
    async with EmbeddedServer() as server:
        empty = resident(server.pid or 0)
        async with connected(server.url) as connection:
            log = await JetStreamLog.open(connection, flow=name, storage=Storage(log_bytes=_LOG))
            await fill(log, size)
        full = resident(server.pid or 0)
        await server.kill()
        began = time.perf_counter()
        await server.start()
        restart = time.perf_counter() - began
        async with connected(server.url) as connection:
            log = await JetStreamLog.open(connection, flow=name)
            before = resident("self")
            # What is removed meanwhile is another affair: no keeper.
            async with worker(
                flow, connection, nodes=["hand_on"], concurrency=WINDOW, retention=None
            ):
                began = time.perf_counter()
                consumer = log.names.consumer("hand_on")
                goal = min(size, MEASURED)
                done = 0
                while done < goal:
                    await asyncio.sleep(0.02)
                    info = await log.jetstream.consumer_info(log.names.log_stream, consumer)
                    done = size - info.num_pending - info.num_ack_pending
                rate = done / (time.perf_counter() - began)
                grown = resident("self") - before
    return Sample(size, rate, (full - empty) / size, grown, restart)


async def run(sizes: tuple[int, ...] = SIZES) -> None:
    """Measure and print a table."""
    settle_collector()
    print(
        "| waiting | hops/s | x of the smallest | server bytes a trace | worker MiB | restart s |"
    )
    print("|---|---|---|---|---|---|")
    first = 0.0
    for size in sizes:
        found = await measure(size)
        first = first or found.rate
        print(
            f"| {size:,} | {found.rate:,.0f} | {found.rate / first:.2f} "
            f"| {found.server_bytes:,.0f} | {found.worker_bytes / 2**20:.1f} "
            f"| {found.restart:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    asyncio.run(run(tuple(map(int, sys.argv[1:])) or SIZES))
