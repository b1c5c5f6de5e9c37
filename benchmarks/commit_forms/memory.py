"""Server memory per live record, and the time from kill -9 to the first ack."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass

from . import forms
from .client import Client, OutcomeUnknownError
from .forms import Form, Input, record_subject
from .server import Server, running_server
from .tables import table

PAYLOAD = b"x" * 256
PER_TRACE = 10
REST = 30.0


@dataclass(frozen=True)
class Sample:
    """Bytes per record, and seconds."""

    name: str
    rss: float
    """After the writes, with what the writes left behind."""
    heap: float
    """Alive at that moment, after a garbage collection."""
    rested: float
    """Alive after a rest: the server lets go of block caches nobody asked for."""
    loaded: float
    """RSS after a restart."""
    disk: float
    writes: float
    restarts: list[float]


async def write_trace(client: Client, form: Form, trace: str, edges: bool) -> None:
    """One input and nine results of it; with edges, a message for each."""
    root = record_subject(trace, "in", "0")
    verdict, answer = await form.write(client, root, PAYLOAD, None)
    assert verdict is forms.Verdict.COMMITTED, answer
    source = Input(root, answer.seq)
    answers = []
    for i in range(1, PER_TRACE):
        subject = record_subject(trace, f"n{i}", "in")
        answers.append(await client.send(subject, PAYLOAD, form.headers(subject, source)))
    if edges:
        for i in range(PER_TRACE):
            headers = {"Nats-Msg-Id": f"{trace}.{i}"}
            answers.append(await client.send(f"edge.n{i}.{trace}.in", PAYLOAD, headers))
    await asyncio.gather(*answers)


async def first_ack(server: Server, form: Form, trace: str) -> float:
    """Seconds from the start of the process to the first committed record."""
    began = time.time()
    server.start()
    client = await Client(timeout=0.25).connect(server.url)
    try:
        while True:
            try:
                await form.write(client, record_subject(trace, "in", "0"), PAYLOAD, None)
                return time.time() - began
            except OutcomeUnknownError:
                await asyncio.sleep(0.005)
    finally:
        await client.close()


async def measure(form: Form, records: int, edges: bool = False) -> Sample:
    with running_server(profile=True) as server:
        client = await Client(timeout=20).connect(server.url)
        await form.create(client)
        base, base_heap, began = server.rss_bytes(), server.heap_bytes(), time.time()
        traces = records // PER_TRACE
        for start in range(0, traces, 50):
            batch = range(start, min(start + 50, traces))
            await asyncio.gather(*[write_trace(client, form, f"{i:032x}", edges) for i in batch])
        writes = records * (2 if edges else 1) / (time.time() - began)
        rss, disk = server.rss_bytes() - base, server.disk_bytes()
        heap = server.heap_bytes() - base_heap
        await client.close()
        await asyncio.sleep(REST)
        rested = server.heap_bytes() - base_heap
        restarts, loaded = [], []
        for n in range(3):
            server.kill()
            restarts.append(await first_ack(server, form, f"{n:031x}f"))
            loaded.append(server.rss_bytes() - base)
        return Sample(
            form.name + (", each with its edge waiting" if edges else ""),
            rss / records,
            heap / records,
            rested / records,
            statistics.median(loaded) / records,
            disk / records,
            writes,
            restarts,
        )


async def run(records: int = 100_000, what: str = "all") -> None:
    samples = [await measure(forms.F1, records)]
    samples.append(await measure(forms.F1, records, edges=True))
    samples += [await measure(form, records) for form in (forms.F2, forms.F3, forms.F3X, forms.F4)]
    if what in ("memory", "all"):
        print(f"\n### Memory: {records:,} live records of 256 B, bytes per record\n")
        head = ["form", "RSS after writing", "live heap", f"live heap {REST:.0f} s later"]
        head += ["RSS after restart", "disk", "writes/s"]
        rows = [
            [s.name] + [f"{n:,.0f}" for n in (s.rss, s.heap, s.rested, s.loaded, s.disk, s.writes)]
            for s in samples
        ]
        print(table(head, rows))
    if what in ("restart", "all"):
        print(f"\n### Restart: kill -9 with {records:,} live records, seconds to the first ack\n")
        rows = [
            [s.name, *[f"{t:.2f}" for t in (statistics.median(s.restarts), *s.restarts)]]
            for s in samples
        ]
        print(table(["form", "median", "first", "second", "third"], rows))
