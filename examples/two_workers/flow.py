"""One flow over two worker processes: python examples/two_workers/flow.py

Starts a nats-server and two workers, submits orders, and kills one of the workers on the way.
Every order is answered all the same, and what is stored says which worker did what.
"""

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

if importlib.util.find_spec("penguiflow") is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pydantic import BaseModel

from penguiflow import Context, Headers, Message, Node, NodePolicy, StreamChunk, create
from penguiflow.durable.client import DurableClient
from penguiflow.durable.log import Kind
from penguiflow.errors import TraceCancelled
from penguiflow_nats import runtime
from penguiflow_nats.server import EmbeddedServer

ORDERS = 20
LEASE = 2.0
"""Seconds after which the other worker takes over what a dead one had in hand."""
STOP = 10.0
"""Seconds that a worker may take to end."""

# The flow: what the workers run and the client knows.


class Order(BaseModel):
    number: int
    item: str
    seconds: float = 0.2


async def pick(msg: Message, ctx: Context) -> Message:
    """Takes as long as the order says."""
    await asyncio.sleep(msg.payload.seconds)
    return msg


async def ship(msg: Message, ctx: Context) -> Message:
    """Streams its steps live; what it returns is committed."""
    for step in ("boxed", "labelled", "shipped"):
        await ctx.emit_chunk(parent=msg, text=step, done=step == "shipped")
    return msg.model_copy(update={"payload": f"order {msg.payload.number}: {msg.payload.item}"})


policy = NodePolicy(validate="none", concurrency=2)
first, second = Node(pick, policy=policy), Node(ship, policy=policy)
flow = create(first.to(second), second.to(), name="two-workers")


def order(number: int, item: str, seconds: float = 0.2) -> Message:
    payload = Order(number=number, item=item, seconds=seconds)
    return Message(payload=payload, headers=Headers(tenant="default"))


# A worker: this file again, in a process of its own.


async def work(server: str) -> None:
    """Work until standard input ends: then the parent is done with us, or is no more."""
    async with runtime.worker(flow, server, lease=LEASE, drain=STOP / 2) as hosted:
        print(hosted.id, flush=True)
        await asyncio.to_thread(sys.stdin.read)


@dataclass
class WorkerProcess:
    label: str
    id: str
    process: asyncio.subprocess.Process

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)


@asynccontextmanager
async def started(label: str, server: str) -> AsyncIterator[WorkerProcess]:
    """A worker process that is ready; ended with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        server,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the parent alone
    )
    assert process.stdin is not None  # noqa: S101 - a pipe, as asked for
    assert process.stdout is not None  # noqa: S101 - as above
    try:
        ready = (await process.stdout.readline()).decode().strip()
        if not ready:
            sys.exit(f"{label} did not start")
        print(f"{label} is process {process.pid}")
        yield WorkerProcess(label, ready, process)
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP)
        except TimeoutError:
            process.kill()
            await process.wait()


# The client.


async def stream_one(client: DurableClient) -> None:
    print("\nOne order, live:")
    async for item in client.stream(order(0, "a tent"), timeout=30):
        if isinstance(item, StreamChunk):
            print(f"  chunk {item.seq}: {item.text}")
        else:
            print(f"  result: {item.payload}")


async def kill_one(client: DurableClient, victim: WorkerProcess) -> list[str]:
    """Submit the orders, kill a worker in the middle, fetch every result."""
    print(f"\n{ORDERS} orders:")
    traces = [await client.emit(order(n, "a lamp")) for n in range(1, ORDERS + 1)]
    results: list[str] = []
    for trace_id in traces:
        if len(results) == ORDERS // 4:
            victim.kill()
            print(f"  {victim.label} is killed after {len(results)} results")
        results.append((await client.fetch(trace_id=trace_id, timeout=60)).payload)
    print(f"  {len(set(results))} results, from {results[0]!r} to {results[-1]!r}")
    return traces


async def cancel_one(client: DurableClient) -> None:
    print("\nOne order, cancelled:")
    trace_id = await client.emit(order(99, "a piano", seconds=60))
    await asyncio.sleep(0.3)
    print(f"  cancel: {await client.cancel(trace_id)}")
    try:
        await client.fetch(trace_id=trace_id, timeout=30)
    except TraceCancelled as cancelled:
        print(f"  fetch: {cancelled}")
    print(f"  status: {await client.status(trace_id)}")


async def who_did_what(
    client: DurableClient, traces: list[str], workers: list[WorkerProcess]
) -> None:
    """Read the committed records of the orders: one per node and order."""
    labels = {worker.id: worker.label for worker in workers}
    done: Counter[tuple[str, str]] = Counter()
    again = 0
    for trace_id in traces:
        for entry in (await client.books(trace_id)).entries:
            record = entry.envelope
            if entry.stored.key.kind is Kind.RECORD and record is not None:
                done[labels[record.worker], record.node] += 1
                again += record.delivered > 1
    print("\nWho did what, from what is stored:")
    for (label, node), count in sorted(done.items()):
        print(f"  {label}  {node:5} {count:3}")
    print(f"  together {done.total()} of {2 * len(traces)}, {again} after a redelivery")


async def main() -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(EmbeddedServer())
        print(f"nats-server at {server.url}")
        workers = [
            await stack.enter_async_context(started(label, server.url))
            for label in ("worker A", "worker B")
        ]
        client = await stack.enter_async_context(runtime.client(flow, server.url))
        await stream_one(client)
        traces = await kill_one(client, workers[1])
        await cancel_one(client)
        await who_did_what(client, traces, workers)
    print("\nEverything that was started is stopped.")


if __name__ == "__main__":
    try:
        asyncio.run(work(sys.argv[1]) if len(sys.argv) > 1 else main())
    except KeyboardInterrupt:
        print("\nInterrupted. Everything that was started is stopped.")
        sys.exit(130)
