"""The durable hop: take a message, hand one on, settle; ours beside three hand-written ones.

`python -m benchmarks hop` measures, interleaved in one run on one machine:

    naive       fetch(1), js.publish with a message id, ack: as the client's documentation teaches
    pipelined   the best that a hand-written hop reaches with nats-py: continuous pull, publish
                acknowledgements through one inbox, callbacks only, plain ack, no commit
    fenced      the same with the durability of ours and nothing else: a task per message, one
                write fenced by its input, plain ack; raw bytes, no envelope and no codec
    ours        a node of a durable flow on the worker, with the commit: envelope, record fenced by
                its input, ack; the record is what the next node consumes

Rates depend on the machine; only the ratios of one run mean anything.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.commit_forms.client import ACK, Client
from benchmarks.commit_forms.forms import F3X, add_consumer
from benchmarks.commit_forms.hops import PAYLOAD, drained, measure, measure_naive
from penguiflow import Context, Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.cli.memory import settle_collector
from penguiflow.durable.client import DurableClient
from penguiflow.durable.topology import flow_token
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.runtime import connected, worker
from penguiflow_nats.server import EmbeddedServer

WINDOW = 256
_TICK = 100


@dataclass(frozen=True)
class Sample:
    """Hops per second of wall time, microseconds of CPU per hop here and in the server."""

    rate: float
    client_us: float
    server_us: float


class Stopwatch:
    """Wall time, own CPU and the server's CPU since its start."""

    def __init__(self, server_pid: int) -> None:
        self._stat = Path(f"/proc/{server_pid}/stat")
        self._start = (time.perf_counter(), time.process_time(), self._server())

    def _server(self) -> float:
        fields = self._stat.read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def sample(self, hops: int) -> Sample:
        wall, client, server = self._start
        return Sample(
            hops / (time.perf_counter() - wall),
            (time.process_time() - client) / hops * 1e6,
            (self._server() - server) / hops * 1e6,
        )


async def pipelined(count: int) -> Sample:
    """Callbacks only: no task and no future per message."""
    async with EmbeddedServer() as server:
        client = await Client(timeout=20).connect(server.url)
        js = client.nc.jetstream()
        await js.add_stream(name="A", subjects=["A.>"])
        await js.add_stream(name="B", subjects=["B.>"])
        for start in range(0, count, 1000):
            await asyncio.gather(
                *[await client.send(f"A.{i}", PAYLOAD) for i in range(start, start + 1000)]
            )
        await add_consumer(client, "A", "a", ["A.>"])
        watch = Stopwatch(server.pid or 0)
        await _run_callbacks(client, count)
        await drained(client, "A", "a")
        sample = watch.sample(count)
        await client.close()
        return sample


async def _run_callbacks(client: Client, count: int) -> None:
    nc = client.nc
    done = asyncio.Event()
    acks: dict[str, str] = {}
    inbox, pulls = nc.new_inbox(), nc.new_inbox()
    state = {"left": count, "asked": 0, "token": 0}

    async def ask() -> None:
        room = WINDOW - state["asked"] - len(acks)
        if room >= WINDOW // 4:
            state["asked"] += room
            body = b'{"batch":%d,"expires":30000000000}' % room
            await nc.publish("$JS.API.CONSUMER.MSG.NEXT.A.a", body, reply=pulls + ".1")

    async def received(msg: Any) -> None:
        state["asked"] -= 1
        state["token"] += 1
        token = str(state["token"])
        acks[token] = msg.reply
        headers = {"Nats-Msg-Id": msg.subject}
        await nc.publish(f"B.{token}", msg.data, reply=f"{inbox}.{token}", headers=headers)

    async def stored(msg: Any) -> None:
        await nc.publish(acks.pop(msg.subject.rpartition(".")[2]), ACK)
        state["left"] -= 1
        if not state["left"]:
            done.set()
        await ask()

    await nc.subscribe(inbox + ".*", cb=stored)
    await nc.subscribe(pulls + ".*", cb=received)
    await ask()
    await done.wait()


def hop_flow() -> PenguiFlow:
    """A node that hands its message on to another one, which no worker runs here."""

    async def hand_on(message: Message, ctx: Context) -> Message:
        return message

    async def sink(message: Message, ctx: Context) -> None:
        return None

    policy = NodePolicy(validate="none")
    first, last = Node(hand_on, policy=policy), Node(sink, policy=policy)
    return create(first.to(last), last.to(), name="hop")


async def ours(count: int) -> Sample:
    """The worker of the package, at 256 in flight."""
    async with EmbeddedServer() as server:
        return await hop_on(server, count)


async def hop_on(server: EmbeddedServer, count: int) -> Sample:
    """The same on a server that is there."""
    flow = hop_flow()
    async with connected(server.url) as connection:
        name = flow_token(flow.graph, flow.name, flow.version)
        log = await JetStreamLog.open(connection, flow=name)
        client = DurableClient(flow, log)
        payload = PAYLOAD.decode()
        for _ in range(0, count, 500):
            headers = Headers(tenant="default")
            batch = [Message(payload=payload, headers=headers) for _ in range(500)]
            await asyncio.gather(*(client.emit(message) for message in batch))
        watch = Stopwatch(server.pid or 0)
        async with worker(flow, connection, nodes=["hand_on"], concurrency=WINDOW):
            consumer = log.names.consumer("hand_on")
            while True:
                await asyncio.sleep(0.02)
                info = await log.jetstream.consumer_info(log.names.log_stream, consumer)
                if not info.num_pending and not info.num_ack_pending:
                    break
            return watch.sample(count)


async def run(count: int = 20_000, rounds: int = 3) -> None:
    """Measure and print a table. The collector is set as in a process of `penguiflow worker`."""
    settle_collector()
    samples: dict[str, list[Sample]] = {
        name: [] for name in ("naive", "pipelined", "fenced", "ours")
    }
    for _ in range(rounds):  # interleaved, so that a slow minute of the machine meets each
        naive = await measure_naive(count // 6)
        samples["naive"].append(Sample(naive.rate, naive.client_us, naive.server_us))
        samples["pipelined"].append(await pipelined(count))
        fenced = await measure(F3X, count, WINDOW, confirmed=False)
        samples["fenced"].append(Sample(fenced.rate, fenced.client_us, fenced.server_us))
        samples["ours"].append(await ours(count))
    medians = {name: statistics.median(s.rate for s in got) for name, got in samples.items()}
    print("| hop | x naive | x pipelined | x fenced | hops/s | client us | server us |")
    print("|---|---|---|---|---|---|---|")
    for name, got in samples.items():
        rate = medians[name]
        client = statistics.median(s.client_us for s in got)
        server = statistics.median(s.server_us for s in got)
        ratios = f"{rate / medians['naive']:.1f} | {rate / medians['pipelined']:.2f}"
        ratios += f" | {rate / medians['fenced']:.2f}"
        print(f"| {name} | {ratios} | {rate:,.0f} | {client:.0f} | {server:.0f} |")


if __name__ == "__main__":
    asyncio.run(run())
