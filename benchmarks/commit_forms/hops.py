"""Hops per second and CPU per hop: read an input, commit its result, confirm the ack."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nats.js.api import RetentionPolicy, StreamConfig

from . import forms
from .client import ACK, Client, Puller
from .forms import EDGE, LOG, Form, Verdict, add_consumer, input_of, record_subject
from .server import Server, running_server
from .tables import table

if TYPE_CHECKING:
    from nats.aio.msg import Msg

PAYLOAD = b"x" * 256
MEASURED = (forms.NONE, forms.F1, forms.F2, forms.F3, forms.F3X, forms.F4)


@dataclass(frozen=True)
class Sample:
    rate: float
    client_us: float
    server_us: float


class Stopwatch:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.wall, self.client, self.cpu = time.time(), time.process_time(), server.cpu_seconds()

    def sample(self, hops: int) -> Sample:
        return Sample(
            hops / (time.time() - self.wall),
            (time.process_time() - self.client) / hops * 1e6,
            (self.server.cpu_seconds() - self.cpu) / hops * 1e6,
        )


async def fill(client: Client, form: Form, count: int) -> None:
    """`count` traces with one input each; in the form with edges it waits in the edge."""
    for start in range(0, count, 1000):
        answers = []
        for i in range(start, min(start + 1000, count)):
            subject = (
                f"edge.a.{i:032x}.in" if form.edges else record_subject(f"{i:032x}", "in", "0")
            )
            headers = None if form.edges else form.headers(subject, None)
            answers.append(await client.send(subject, PAYLOAD, headers))
        await asyncio.gather(*answers)


async def hop(client: Client, form: Form, msg: Msg, *, confirmed: bool = True) -> None:
    tokens = msg.subject.split(".")
    trace = tokens[2] if form.edges else tokens[1]
    subject = record_subject(trace, "a", "in")
    verdict, answer = await form.write(client, subject, PAYLOAD, input_of(msg))
    if verdict is not Verdict.COMMITTED:
        msg_ = f"{form.name}: {answer}"
        raise RuntimeError(msg_)
    if form.edges:
        await client.write(f"edge.b.{trace}.a", PAYLOAD, {"Nats-Msg-Id": subject})
    if form is forms.NONE or not confirmed:
        await client.nc.publish(msg.reply, ACK)  # what is possible without any promise
    else:
        await (await client.send(msg.reply, ACK))


async def measure(form: Form, count: int, window: int, *, confirmed: bool = True) -> Sample:
    with running_server() as server:
        client = await Client(timeout=20).connect(server.url)
        await form.create(client)
        await fill(client, form, count)
        stream, filters = (EDGE, ["edge.a.>"]) if form.edges else (LOG, ["rec.*.in.>"])
        await add_consumer(client, stream, "a", filters)
        done, left = asyncio.Event(), count
        failed: list[BaseException] = []

        async def handle(msg: Msg) -> None:
            nonlocal left
            try:
                await hop(client, form, msg, confirmed=confirmed)
            except BaseException as error:
                failed.append(error)
                done.set()
                raise
            left -= 1
            if not left:
                done.set()

        watch = Stopwatch(server)
        await Puller(client, stream, "a", handle, window).start()
        await done.wait()
        if failed:
            raise failed[0]
        await drained(client, stream, "a")
        sample = watch.sample(count)
        await client.close()
        return sample


async def drained(client: Client, stream: str, durable: str) -> None:
    while (await client.api(f"CONSUMER.INFO.{stream}.{durable}"))["num_ack_pending"]:
        await asyncio.sleep(0.005)


async def measure_naive(count: int) -> Sample:
    """fetch(1), js.publish with a message id, ack: what a first version would do."""
    with running_server() as server:
        return await naive_hops(server.url, count, lambda: Stopwatch(server))


async def naive_hops(url: str, count: int, begin: Callable[[], Any]) -> Any:
    """The naive hop on a server: the sample of the stopwatch that begins when the messages are
    stored."""
    client = await Client(timeout=20).connect(url)
    js = client.nc.jetstream()
    for name in ("A", "B"):
        config = StreamConfig(
            name=name, subjects=[f"{name}.>"], retention=RetentionPolicy.WORK_QUEUE
        )
        await js.add_stream(config)
    await asyncio.gather(*[await client.send(f"A.{i}", PAYLOAD) for i in range(count)])
    subscription = await js.pull_subscribe("A.>", "a", stream="A")
    watch = begin()
    for _ in range(count):
        (msg,) = await subscription.fetch(1)
        await js.publish(f"B.{msg.subject[2:]}", msg.data, headers={"Nats-Msg-Id": msg.subject})
        await msg.ack()
    await drained(client, "A", "a")
    sample = watch.sample(count)
    await client.close()
    return sample


async def run(count: int = 20_000, window: int = 256, rounds: int = 3) -> None:
    samples: dict[str, list[Sample]] = {}
    for _ in range(rounds):  # interleaved, so that a slow minute of the machine meets every form
        samples.setdefault("naive", []).append(await measure_naive(count // 6))
        for form in MEASURED:
            samples.setdefault(form.name, []).append(await measure(form, count, window))
    naive = statistics.median(sample.rate for sample in samples["naive"])
    titles = {"naive": "fetch(1), js.publish, ack"} | {f.name: f.title for f in MEASURED}
    rows = []
    for name, got in samples.items():
        rate = statistics.median(sample.rate for sample in got)
        low, high = min(s.rate for s in got), max(s.rate for s in got)
        rows.append(
            [
                name,
                titles[name],
                f"{rate:,.0f}",
                f"{low:,.0f}-{high:,.0f}",
                f"{statistics.median(s.client_us for s in got):.0f}",
                f"{statistics.median(s.server_us for s in got):.0f}",
                f"{rate / naive:.1f}",
            ]
        )
    print(f"\n### Hops: {count:,} messages of 256 B, {window} in flight, median of {rounds}\n")
    head = ["form", "is", "hops/s", "low-high", "client us", "server us", "x naive"]
    print(table(head, rows))
