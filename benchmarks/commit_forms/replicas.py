"""What three replicas answer where one server answers something else."""

from __future__ import annotations

import asyncio
import itertools
import socket
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nats.js.errors import Error as JetStreamError

from . import forms
from .client import Answer, Client, OutcomeUnknownError
from .forms import Form, Input, Verdict, record_subject
from .server import binary
from .tables import table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Sequence

FAN_OUT, TRACES = 3, 200
numbers = itertools.count()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@contextmanager
def running_cluster() -> Iterator[str]:
    """Three servers. Their ports must be known beforehand, as each names the others."""
    ports, routes = free_ports(3), free_ports(3)
    urls = ",".join(f"nats://127.0.0.1:{port}" for port in routes)
    processes = []
    with tempfile.TemporaryDirectory(prefix="commit-forms-", ignore_cleanup_errors=True) as folder:
        try:
            for i, port in enumerate(ports):
                command = [binary(), "-a", "127.0.0.1", "-p", str(port), "-n", f"n{i}", "-js"]
                command += ["-sd", f"{folder}/{i}", "-l", f"{folder}/{i}.log", "--routes", urls]
                command += ["--cluster_name", "c", "--cluster", f"nats://127.0.0.1:{routes[i]}"]
                processes.append(subprocess.Popen(command))
            yield f"nats://127.0.0.1:{ports[0]}"
        finally:
            for process in processes:
                process.kill()
                process.wait()


async def connect(url: str) -> Client:
    for _ in range(60):
        try:
            return await Client(timeout=2).connect(url)
        except OSError:
            await asyncio.sleep(0.5)
    msg = "the cluster does not answer"
    raise TimeoutError(msg)


async def fresh(client: Client, form: Form, replicas: int = 3, **more: Any) -> Input:
    """A new stream, and the input of one trace in it."""
    name = f"{form.name}-{replicas}-{next(numbers)}"
    for _ in range(60):
        try:
            for old in (await client.api("STREAM.NAMES"))["streams"] or []:
                await client.api(f"STREAM.DELETE.{old}")
            await form.create(client, name=name, num_replicas=replicas, **more)
            break
        except (JetStreamError, TimeoutError, OutcomeUnknownError, KeyError):
            await asyncio.sleep(0.5)
    for _ in range(60):
        answer = await client.write("rec.t.in.0", b"in", form.headers("rec.t.in.0", None))
        if answer.error is None:
            return Input("rec.t.in.0", answer.seq)
        await asyncio.sleep(0.5)
    msg = "the stream takes no write"
    raise TimeoutError(msg)


async def together(writes: Sequence[Awaitable[tuple[Verdict, Answer]]]) -> str:
    said = Counter(words(answer) for _, answer in await asyncio.gather(*writes))
    return ", ".join(f"{count} x {text}" for text, count in sorted(said.items()))


def words(answer: Answer) -> str:
    if answer.error is None:
        return "duplicate" if answer.duplicate else "ok"
    return f"{answer.error.err_code} `{answer.error.description}`"


async def answers(client: Client, replicas: int) -> list[str]:
    """The cells of one column, in the order of `ROWS`."""
    cells = []
    for form in (forms.F2, forms.F3X, forms.F4):
        source = await fresh(client, form, replicas)
        race = [form.write(client, "rec.t.k.in", b"%d" % i, source) for i in range(64)]
        cells.append(await together(race))
    source = await fresh(client, forms.F3X, replicas)
    keys = [forms.F3X.write(client, f"rec.t.k{i}.in", b"x", source) for i in range(64)]
    cells.append(await together(keys))
    await fresh(client, forms.F3X, replicas, max_msgs=1)
    cells.append(await together([forms.F3X.write(client, "rec.t.in.0", b"two", None)]))
    return cells


ROWS = (
    "F2: 64 writers of one key",
    "F3x: 64 writers of one key",
    "F4: 64 writers of one key",
    "F3x: 64 keys, all from one input",
    "F3x: own subject taken *and* stream full",
)


async def fan_out(client: Client, form: Form, trace: str) -> tuple[float, int]:
    """Three siblings commit from one input at the same moment. Seconds, and writes it took."""
    _, answer = await form.write(client, record_subject(trace, "in", "0"), b"in", None)
    source, began, count = Input(record_subject(trace, "in", "0"), answer.seq), time.time(), 0

    async def sibling(node: str) -> None:
        nonlocal count
        while True:
            count += 1
            verdict, _ = await form.write(client, record_subject(trace, node, "in"), b"x", source)
            if verdict is not Verdict.AGAIN:
                return
            await asyncio.sleep(0.001)

    await asyncio.gather(*[sibling(f"b{i}") for i in range(FAN_OUT)])
    return time.time() - began, count


async def run() -> None:
    with running_cluster() as url:
        client = await connect(url)
        one, three = [await answers(client, replicas) for replicas in (1, 3)]
        print("\n### One replica and three\n")
        head = ["writes", "1 replica", "3 replicas"]
        print(table(head, [list(row) for row in zip(ROWS, one, three, strict=True)]))
        rows = []
        for form in (forms.F2, forms.F3X):
            await fresh(client, form)
            got = [await fan_out(client, form, f"{i:032x}") for i in range(TRACES)]
            times = sorted(seconds * 1e3 for seconds, _ in got)
            writes = sum(count for _, count in got) / TRACES
            p50, p99 = statistics.median(times), times[int(TRACES * 0.99)]
            rows.append([form.name, f"{p50:.1f}", f"{p99:.1f}", f"{writes:.1f}"])
        print(f"\n### Three replicas, {FAN_OUT} siblings of one input, again after 1 ms\n")
        print(table(["form", "p50 ms", "p99 ms", "writes for 3 commits"], rows))
        await client.close()
