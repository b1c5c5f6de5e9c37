"""One storm: submit, kill, pause, restart; wait for the calm; judge every accepted trace."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from penguiflow.clock import SYSTEM_CLOCK
from penguiflow.durable.client import DurableClient
from penguiflow.durable.envelope import decode
from penguiflow.durable.keeper import Keeper
from penguiflow.durable.log import Kind, LogError, LogUnavailable
from penguiflow.durable.topology import flow_token
from penguiflow.errors import FlowError, TraceCancelled
from penguiflow_nats.connection import Connection
from penguiflow_nats.dead_letters import NatsDeadLetters
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.streams import Storage
from tests.chaos.storm.fleet import Fleet, Job
from tests.chaos.storm.flow import NODES, storm_flow, submission
from tests.chaos.storm.history import History
from tests.chaos.storm.plan import Blow, plan_of
from tests.chaos.storm.site import Site
from tests.chaos.storm.verdict import End, Told, violations_of

LEASE = 2.0
CANCELLED_SHARE = 0.03
CALM_LIMIT = 300.0


@dataclass(frozen=True, kw_only=True)
class Weather:
    """How hard it storms."""

    seed: int
    traces: int = 10_000
    kills: int = 200
    pauses: int = 50
    long_pauses: int = 3
    servers: int = 20
    workers: int = 4
    window: int = 256
    """Traces under way at once."""
    replicas: int = 1


@dataclass
class Figures:
    """What happened."""

    traces: int = 0
    accepted: int = 0
    cancelled: int = 0
    worker_kills: int = 0
    worker_pauses: int = 0
    server_kills: int = 0
    workers_started: int = 0
    records: int = 0
    runs: int = 0
    runs_in_vain: int = 0
    """Runs whose result did not count: repeated ones, failed ones, those of cancelled traces."""
    redeliveries: int = 0
    """Of the inputs that were committed."""
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)

    def line(self) -> str:
        """All figures in one line."""
        figures = asdict(self) | {"violations": len(self.violations)}
        return " ".join(f"{name}={value}" for name, value in figures.items())


class Storm:
    """A storm over one server, or three."""

    def __init__(self, weather: Weather, folder: Path, *, say: Any = print) -> None:
        self._weather = weather
        self._folder = folder
        self._say = say
        self._chooser = random.Random(weather.seed)
        self.traces = [f"{self._chooser.getrandbits(128):032x}" for _ in range(weather.traces)]
        self._cancels = {t for t in self.traces if self._chooser.random() < CANCELLED_SHARE}
        self._told: dict[str, Told] = {}
        self._moved = asyncio.Event()
        self.figures = Figures(traces=weather.traces)
        self._done: Counter[str] = Counter()

    async def run(self) -> Figures:
        """All of it; the verdict is in the figures."""
        weather = self._weather
        async with Site(replicas=weather.replicas, chooser=self._chooser) as site:
            settings = ConnectionSettings(servers=site.urls)
            async with await Connection.open(settings) as connection:
                flow = storm_flow()
                name = flow_token(flow.graph, flow.name, flow.version)
                storage = Storage(replicas=weather.replicas)
                log = await JetStreamLog.open(connection, flow=name, storage=storage)
                letters = await NatsDeadLetters.open(log, storage=storage)
                async with DurableClient(flow, log) as client:
                    await self._through(site, client, log, letters)
        return self.figures

    async def _through(
        self, site: Site, client: DurableClient, log: JetStreamLog, letters: NatsDeadLetters
    ) -> None:
        weather, figures = self._weather, self.figures
        job = Job(site.urls, LEASE, weather.replicas, self._folder)
        fleet = Fleet(job, size=weather.workers, chooser=self._chooser)
        history = History(log)
        began = time.monotonic()
        following = asyncio.create_task(history.follow())
        try:
            fleet.fill()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._strike(site, fleet, log))
                group.create_task(self._submit(client))
            self._say("all traces have ended; waiting for the calm")
            figures.violations += await self._calm(log, fleet)
            codes = await fleet.stop()
            if any(codes):
                figures.violations.append(f"drained workers ended with {codes}")
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            fleet.close()
        figures.seconds = round(time.monotonic() - began, 1)
        await history.read_on()
        figures.violations += self._verdict(client, history)
        figures.violations += await _leftovers(log, letters)
        if fleet.died:
            figures.violations.append(f"workers that nobody ended: {fleet.died}")
        self._count(fleet, history)

    # Work

    async def _submit(self, client: DurableClient) -> None:
        places = asyncio.Semaphore(self._weather.window)

        async def one(trace: str) -> None:
            try:
                self._told[trace] = await self._one(client, trace)
            finally:
                places.release()
                self._moved.set()

        async with asyncio.TaskGroup() as group:
            for trace in self.traces:
                await places.acquire()
                group.create_task(one(trace))

    async def _one(self, client: DurableClient, trace: str) -> Told:
        """Submit, perhaps cancel, and hear the end; a call that the log did not answer again."""
        await _insist(client.emit, submission(trace), idempotency_key="once")
        self.figures.accepted += 1
        cancelled = None
        if trace in self._cancels:
            await asyncio.sleep(self._chooser.uniform(0, 0.15))
            cancelled = await _insist(client.cancel, trace)
        try:
            message = await _insist(client.fetch, trace_id=trace)
        except TraceCancelled:
            return Told(End.CANCELLED if cancelled else End.FAILED, "cancelled by nobody")
        except LookupError as error:
            late = cancelled is False
            return Told(End.COMPLETED if late else End.NONE, str(error))
        except FlowError as error:
            return Told(End.FAILED, str(error))
        return Told(End.NONE if cancelled else End.RESULT, message.payload)

    # Faults

    async def _strike(self, site: Site, fleet: Fleet, log: JetStreamLog) -> None:
        weather = self._weather
        plan = plan_of(
            self._chooser,
            kills=weather.kills,
            pauses=weather.pauses,
            servers=weather.servers,
            long=weather.long_pauses,
            lease=LEASE,
        )
        async with asyncio.TaskGroup() as group:
            for blow in plan:
                while len(self._told) < blow.at * weather.traces:
                    self._moved.clear()
                    await self._moved.wait()
                await self._carry_out(blow, site, fleet, log, group)

    async def _carry_out(
        self, blow: Blow, site: Site, fleet: Fleet, log: JetStreamLog, group: asyncio.TaskGroup
    ) -> None:
        self._done[blow.what] += 1
        if blow.what == "kill":
            await asyncio.to_thread(fleet.kill)
        elif blow.what == "pause":
            group.create_task(fleet.pause(blow.seconds))
        else:
            # Workers are killed and paused meanwhile too.
            group.create_task(site.strike(log.names.log_stream, blow.seconds))
        if sum(self._done.values()) % 50 == 0:
            self._say(f"{len(self._told)} traces have ended, {dict(self._done)}")

    # Afterwards

    async def _calm(self, log: JetStreamLog, fleet: Fleet) -> list[str]:
        """Wait until nothing is pending, so long that the last zombie had its say."""
        give_up, since = time.monotonic() + CALM_LIMIT, time.monotonic()
        pending: dict[str, int] = {}
        while time.monotonic() < give_up:
            await asyncio.to_thread(fleet.fill)
            with contextlib.suppress(LogError):
                pending = await _pending(log)
            if any(pending.values()):
                since = time.monotonic()
            if time.monotonic() - since > 3 * LEASE:
                return []
            await asyncio.sleep(0.3)
        return [f"still pending: {pending}"]

    def _verdict(self, client: DurableClient, history: History) -> Iterator[str]:
        for trace in self.traces:
            told = self._told[trace]
            for problem in violations_of(trace, history.traces[trace], told, client.codec):
                yield f"{trace}: {problem}"
        for trace in history.traces.keys() - set(self.traces):
            yield f"{trace}: nobody submitted it"

    def _count(self, fleet: Fleet, history: History) -> None:
        figures = self.figures
        figures.cancelled = sum(told.end is End.CANCELLED for told in self._told.values())
        figures.worker_kills = self._done["kill"]
        figures.worker_pauses = self._done["pause"]
        figures.server_kills = self._done["server"]
        figures.workers_started = fleet.started
        figures.records = history.count(Kind.RECORD)
        runs = (self._folder / "runs.txt").read_text().splitlines()
        joins = 0
        for entries in history.traces.values():
            for entry in entries:
                if entry.key.kind is Kind.RECORD:
                    envelope = decode(entry.data)
                    joins += envelope.node == "gather"
                    figures.redeliveries += max(0, envelope.delivered - 1)
        figures.runs = len(runs)
        figures.runs_in_vain = len(runs) - (figures.records - joins)


async def _insist(call: Any, *args: Any, **options: Any) -> Any:
    """Repeat a call until it is answered; all calls of a client may be repeated."""
    while True:
        try:
            return await call(*args, **options)
        except LogUnavailable:
            await asyncio.sleep(0.5)


async def _pending(log: JetStreamLog) -> dict[str, int]:
    """What each node has not settled: deliveries in hand, and entries that wait."""
    found = {}
    for node in NODES:
        consumer = log.names.consumer(node)
        info = await log._persist(
            lambda c=consumer: log.jetstream.consumer_info(log.names.log_stream, c)  # type: ignore[misc]
        )
        found[node] = info.num_pending + info.num_ack_pending
    return found


async def _leftovers(log: JetStreamLog, letters: NatsDeadLetters) -> list[str]:
    """What a keeper without patience leaves, and what was buried."""
    found = [f"{x.stored.key} is a dead letter: {x.reason}" for x in await letters.letters()]
    await Keeper(log, clock=SYSTEM_CLOCK, retention=-60.0).round()
    upto = 0
    while entries := await log.scan(upto, 1000):
        upto = entries[-1].sequence
        found += [f"{e.key} is left over" for e in entries if not e.key.kind.is_marker]
    return found
