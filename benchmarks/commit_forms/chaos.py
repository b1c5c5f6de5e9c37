"""The flow of `worker.py` under kills and pauses, then an audit of all commits."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from . import forms
from .client import Client, OutcomeUnknownError
from .forms import EDGE, LOG, MSG_ID, Form, Verdict, add_consumer
from .server import Server, running_server
from .tables import table
from .worker import PARENTS, Record, decode, record_subject

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS = 4
ACK_WAIT = 1.0
KILLS, PAUSES, RESTARTS = 60, 20, 6
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Design:
    form: Form
    purge: bool = False
    window: float = 120.0
    is_: str = ""


DESIGNS = {
    "naive": Design(forms.F4, window=1.0, is_="message id, window 1 s"),
    "F1": Design(forms.F1, is_="record, then edge; kept"),
    "F2": Design(forms.F2, is_="kept"),
    "F2-purge": Design(forms.F2, purge=True, is_="purged at the end"),
    "F3x": Design(forms.F3X, is_="kept"),
    "F3x-purge": Design(forms.F3X, purge=True, is_="purged at the end"),
    "F4": Design(forms.F4, window=3600.0, is_="window 1 h; kept"),
    "F4-purge": Design(forms.F4, purge=True, window=3600.0, is_="window 1 h; purged at the end"),
}


@dataclass
class Pool:
    """Worker processes of our own. Each is ended by its id."""

    command: list[str]
    errors: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    paused: set[int] = field(default_factory=set)
    died: int = 0

    def spawn(self) -> None:
        with self.errors.open("ab") as file:
            self.running.append(subprocess.Popen(self.command, cwd=ROOT, stderr=file))

    def awake(self) -> list[subprocess.Popen[bytes]]:
        for process in [p for p in self.running if p.poll() is not None]:
            self.running.remove(process)  # a death that nobody ordered
            self.died += 1
            self.spawn()
        return [p for p in self.running if p.pid not in self.paused]

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.running.remove(process)

    async def pause(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        process.send_signal(signal.SIGSTOP)
        self.paused.add(process.pid)
        await asyncio.sleep(seconds)
        process.send_signal(signal.SIGCONT)
        self.paused.discard(process.pid)

    def close(self) -> None:
        for process in list(self.running):
            self.kill(process)


class Chaos:
    def __init__(self, server: Server, design: Design, seed: int, traces: int) -> None:
        self.server, self.design, self.form = server, design, design.form
        self.random = random.Random(seed)
        self.traces = [f"{self.random.getrandbits(128):032x}" for _ in range(traces)]
        self.log = server.folder / "events"
        command = [sys.executable, "-m", f"{__package__}.worker", "--url", server.url]
        command += ["--form", self.form.name, "--log", str(self.log)]
        command += ["--purge"] if design.purge else []
        self.pool = Pool(command, server.folder / "errors")
        self.faults: Counter[str] = Counter()

    async def prepare(self) -> None:
        self.client = await Client(timeout=1.0).connect(self.server.url)
        await self.form.create(self.client, window=self.design.window, edge_window=2.0)
        for node, parents in PARENTS.items():
            filters = [f"rec.*.{parent}.>" for parent in parents]
            if self.form.edges:
                await add_consumer(self.client, EDGE, node, [f"edge.{node}.>"], ACK_WAIT)
            else:
                await add_consumer(self.client, LOG, node, filters, ACK_WAIT)
        for _ in range(WORKERS):
            self.pool.spawn()

    async def send_all(self, seconds: float) -> None:
        async with asyncio.TaskGroup() as group:
            for trace in self.traces:
                group.create_task(self.send(trace))
                await asyncio.sleep(seconds / len(self.traces))

    async def send(self, trace: str) -> None:
        """The same write until it is acked or refused: then it is stored, or was."""
        subject = record_subject(trace, "in", "0")
        data = msgspec.json.encode(Record(subject, uuid.uuid4().hex, []))
        while True:
            try:
                if self.form.edges:
                    headers = {MSG_ID: f"{subject}.a"}
                    answer = await self.client.write(f"edge.a.{trace}.in", data, headers)
                    if answer.error is None:
                        return
                else:
                    verdict, _ = await self.form.write(self.client, subject, data, None)
                    if verdict in (Verdict.COMMITTED, Verdict.TAKEN, Verdict.GONE):
                        return
            except OutcomeUnknownError:
                pass
            await asyncio.sleep(0.1)

    def schedule(self, seconds: float) -> Iterator[tuple[float, str]]:
        """Fixed by the seed: when which fault happens. Whom it meets depends on who is alive."""
        plan = [(self.random.uniform(1.0, seconds), "worker SIGKILL") for _ in range(KILLS)]
        plan += [(self.random.uniform(1.0, seconds), "worker SIGSTOP") for _ in range(PAUSES)]
        step = seconds / RESTARTS
        plan += [
            ((i + self.random.uniform(0.3, 0.9)) * step, "server SIGKILL") for i in range(RESTARTS)
        ]
        yield from sorted(plan)

    async def break_things(self, seconds: float) -> None:
        began = time.time()
        async with asyncio.TaskGroup() as group:
            for due, fault in self.schedule(seconds):
                await asyncio.sleep(max(0.0, began + due - time.time()))
                if fault == "server SIGKILL":
                    self.server.kill()
                    await asyncio.sleep(self.random.uniform(0.1, 0.5))
                    await asyncio.to_thread(self.server.start)
                elif not (awake := self.pool.awake()):
                    continue
                elif fault == "worker SIGKILL":
                    self.pool.kill(self.random.choice(awake))
                    self.pool.spawn()
                else:
                    length = self.random.uniform(1.4, 2.6)
                    group.create_task(self.pool.pause(self.random.choice(awake), length))
                self.faults[fault] += 1

    async def unfinished(self) -> tuple[int, int]:
        """Traces without a marker, and deliveries not yet acked."""
        info = await self.client.api(f"STREAM.INFO.{LOG}", {"subjects_filter": "end.>"})
        ended = len(info["state"].get("subjects") or {})
        waiting, stream = 0, EDGE if self.form.edges else LOG
        for node in PARENTS:
            consumer = await self.client.api(f"CONSUMER.INFO.{stream}.{node}")
            waiting += consumer["num_pending"] + consumer["num_ack_pending"]
        return len(self.traces) - ended, waiting

    async def settle(self, limit: float = 30.0) -> tuple[int, int]:
        """Calm for three seconds, so that the last zombie had its say."""
        deadline, calm_since = time.time() + limit, time.time()
        state = (len(self.traces), 0)
        while time.time() < deadline:
            self.pool.awake()
            with suppress(OutcomeUnknownError):
                state = await self.unfinished()
            if state != (0, 0):
                calm_since = time.time()
            if time.time() - calm_since > 3.0:
                break
            await asyncio.sleep(0.25)
        return state

    async def stored(self) -> list[Record]:
        """Everything the log holds now, read from the server."""
        state = (await self.client.api(f"STREAM.INFO.{LOG}"))["state"]
        subscription = await self.client.nc.jetstream().pull_subscribe(
            "", durable="audit", stream=LOG
        )
        records: list[Record] = []
        while len(records) < state["messages"]:
            for msg in await subscription.fetch(500, timeout=5):
                records.append(decode(msg.data))
                await msg.ack()
        return records


class Audit:
    """What was committed, from the log and from what the workers were told and given."""

    def __init__(self, lines: list[str], stored: list[Record]) -> None:
        self.events: Counter[str] = Counter()
        self.committed: dict[str, dict[str, list[str]]] = defaultdict(dict)
        self.ends: dict[str, set[str]] = defaultdict(set)
        acked: dict[str, str] = {}
        for line in lines:
            event, subject, ident, of = line.split()
            self.events[event] += 1
            if event in ("saw", "committed"):
                self.committed[subject].setdefault(ident, [] if of == "-" else of.split(","))
            if event == "committed":
                acked[ident] = subject
            if event in ("committed", "taken") and subject.startswith("end."):
                self.ends[subject].add(of)
        for record in stored:
            self.committed[record.subject].setdefault(record.id, record.of)
        self.acked_missing = len(acked.keys() - {record.id for record in stored})
        self.leftover = sum(record.subject.startswith("rec.") for record in stored)

    def twice(self) -> int:
        return sum(len(idents) - 1 for idents in self.committed.values())

    def contradictions(self) -> int:
        """Committed records computed from something that is not the first commit of its key."""
        first = {next(iter(idents)) for idents in self.committed.values()}
        return sum(
            not first.issuperset(of) for idents in self.committed.values() for of in idents.values()
        )

    def ended_twice(self) -> int:
        return sum(len(of) > 1 for of in self.ends.values())


async def run_one(name: str, seed: int, traces: int, seconds: float) -> list[str]:
    design = DESIGNS[name]
    with running_server() as server:
        chaos = Chaos(server, design, seed, traces)
        try:
            await chaos.prepare()
            await asyncio.gather(chaos.send_all(seconds * 0.95), chaos.break_things(seconds))
            unfinished, waiting = await chaos.settle()
        finally:
            chaos.pool.close()
        stored = await chaos.stored()
        await chaos.client.close()
        audit = Audit(chaos.log.read_text().splitlines(), stored)
        errors = chaos.pool.errors.read_text().count("Traceback")
    known = {record.trace for record in stored}
    lost = sum(trace not in known for trace in chaos.traces)
    faults = chaos.faults
    return [
        name,
        design.is_,
        f"{faults['worker SIGKILL']} / {faults['worker SIGSTOP']} / {faults['server SIGKILL']}",
        f"{audit.twice()}",
        f"{audit.contradictions()}",
        f"{audit.ended_twice()}",
        f"{lost}",
        f"{unfinished - lost} ({waiting})",
        "-" if design.purge else f"{audit.acked_missing}",
        f"{audit.leftover}" if design.purge else "-",
        f"{audit.events['taken']} / {audit.events['gone']}",
        f"{audit.events['crash']} / {chaos.pool.died} / {errors}",
    ]


async def run(seed: int, designs: list[str], traces: int, seconds: float) -> None:
    rows = []
    for name in designs:
        rows.append(await run_one(name, seed, traces, seconds))
        print(f"# {name}: done", file=sys.stderr, flush=True)
    print(
        f"\n### Chaos: {traces:,} traces, {WORKERS} workers, ack_wait {ACK_WAIT} s, seed {seed}\n"
    )
    head = ["design", "is", "worker kills / pauses / server kills", "committed twice"]
    head += ["contradictory records", "traces ended twice", "lost", "stuck (pending)"]
    head += ["acked but missing", "orphans", "writes refused: taken / gone"]
    head += ["crashes / deaths / tracebacks"]
    print(table(head, rows))
