"""One tenant's backlog beside another tenant's single messages.

`python -m benchmarks fairness` measures how long a message of tenant `quiet` takes through one
node, from `emit` to its result: alone, and while tenant `busy` has 100,000 messages waiting, which
workers work off as fast as they can. Once with the workers of both tenants in one process, once in
a process each.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from penguiflow import Context, Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.durable.client import DurableClient
from penguiflow_nats.runtime import client, worker
from penguiflow_nats.server import EmbeddedServer

BACKLOG, SINGLES = 100_000, 200
_PAUSE = 0.02
_BATCH = 500


def flow() -> PenguiFlow:
    """One node that hands its message on."""

    async def hand_on(message: Message, ctx: Context) -> Message:
        return message

    return create(Node(hand_on, policy=NodePolicy(validate="none")).to(), name="fair")


async def singles(quiet: DurableClient, count: int) -> list[float]:
    """Milliseconds of single messages, one after the other."""
    found = []
    for number in range(count):
        started = time.perf_counter()
        await quiet.round_trip(Message(payload=number, headers=Headers(tenant="quiet")), timeout=60)
        found.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(_PAUSE)
    return found


async def pile_up(busy: DurableClient, count: int) -> None:
    """Submit a backlog."""
    for _ in range(0, count, _BATCH):
        headers = Headers(tenant="busy")
        batch = [Message(payload="x" * 256, headers=headers) for _ in range(_BATCH)]
        await asyncio.gather(*(busy.emit(message) for message in batch))


@asynccontextmanager
async def workers(url: str, *, apart: bool) -> AsyncIterator[None]:
    """Workers of both tenants: here, or in a process each."""
    async with AsyncExitStack() as stack:
        for tenant in ("quiet", "busy"):
            if not apart:
                options = {"tenant": tenant, "retention": None, "drain": 1.0}
                await stack.enter_async_context(worker(flow(), url, **options))  # type: ignore[arg-type]
                continue
            command = (sys.executable, "-m", "benchmarks.fairness", url, tenant)
            process = await asyncio.create_subprocess_exec(
                *command, cwd=Path(__file__).parents[1], stdout=asyncio.subprocess.PIPE
            )
            stack.push_async_callback(process.wait)
            stack.callback(process.kill)
            assert process.stdout is not None
            await process.stdout.readline()
        yield


async def measure(*, backlog: int, apart: bool) -> tuple[list[float], int]:
    """Milliseconds of the single messages, and how much of the backlog was left at the end."""
    async with EmbeddedServer() as server, AsyncExitStack() as stack:
        quiet = await stack.enter_async_context(client(flow(), server.url, tenant="quiet"))
        busy = await stack.enter_async_context(client(flow(), server.url, tenant="busy"))
        await pile_up(busy, backlog)
        async with workers(server.url, apart=apart):
            await singles(quiet, 5)
            found = await singles(quiet, SINGLES)
            log = busy.log
            info = await log.jetstream.consumer_info(  # type: ignore[attr-defined]
                log.names.log_stream,  # type: ignore[attr-defined]
                log.names.consumer("hand_on"),  # type: ignore[attr-defined]
            )
            return found, info.num_pending


async def run(backlog: int = BACKLOG) -> None:
    """Measure and print a table."""
    print("| workers | backlog of the other | p50 ms | p99 ms | worst ms | left of the backlog |")
    print("|---|---|---|---|---|---|")
    for apart in (False, True):
        for size in (0, backlog):
            found, left = await measure(backlog=size, apart=apart)
            found.sort()
            place = "a process each" if apart else "one process"
            p99 = found[int(len(found) * 0.99)]
            print(
                f"| {place} | {size:,} | {statistics.median(found):.1f} | {p99:.1f} "
                f"| {found[-1]:.1f} | {left:,} |",
                flush=True,
            )


async def _serve(url: str, tenant: str) -> None:
    async with worker(flow(), url, tenant=tenant, retention=None):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
