"""Worker processes of the fault cases: they die where a test wants, or are stopped and go on."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

from penguiflow.durable.log import Consumption, Key, LogDelivery
from penguiflow.durable.topology import flow_token
from penguiflow.durable.worker import DurableWorker
from penguiflow_nats.connection import Connection
from penguiflow_nats.dead_letters import NatsDeadLetters
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.streams import Storage
from tests.chaos.faults.flows import FLOWS, Scene

LEASE = 1.2


@dataclass(frozen=True)
class Life:
    """What a worker process is told."""

    servers: tuple[str, ...]
    flow: str
    folder: str
    trap: str = ""
    """Where it kills itself: before or after the nth `rec` or `out`, or before an `ack`."""
    nodes: tuple[str, ...] | None = None
    max_deliveries: int = 20
    replicas: int = 1
    lease: float = LEASE


class TrapLog(JetStreamLog):
    """A log that ends the process before or after something it does: `after out 3`."""

    trap = ""
    seen = 0

    def _snap(self, when: str, what: str) -> None:
        """Die here, when this is the place."""
        place, kind, count = [*self.trap.split(), "", "", "1"][:3]
        if when == place and what == kind:
            self.seen += 1
            if self.seen >= int(count or 1):
                os.kill(os.getpid(), signal.SIGKILL)

    async def append(self, key: Key, data: bytes, **options: Any) -> int:
        self._snap("before", key.kind.value)
        sequence = await super().append(key, data, **options)
        self._snap("after", key.kind.value)
        return sequence

    async def consume(
        self, spec: Any, deliver: Callable[[LogDelivery], None], **options: Any
    ) -> Consumption:
        def trapped(delivery: LogDelivery) -> None:
            deliver(_Trapped(delivery, self))  # type: ignore[arg-type]

        return await super().consume(spec, trapped, **options)


class _Trapped:
    def __init__(self, delivery: LogDelivery, log: TrapLog) -> None:
        self._delivery = delivery
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._delivery, name)

    async def ack(self) -> None:
        self._log._snap("before", "ack")
        await self._delivery.ack()


def live(life: Life) -> None:
    """The life of a worker process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    asyncio.run(_live(life))


async def _live(life: Life) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    scene = Scene(life.folder)
    flow = FLOWS[life.flow](scene)
    settings = ConnectionSettings(servers=life.servers, ping_interval=1.0)
    async with await Connection.open(settings) as connection:
        name = flow_token(flow.graph, flow.name, flow.version)
        storage = Storage(replicas=life.replicas)
        log = await TrapLog.open(connection, flow=name, storage=storage)
        assert isinstance(log, TrapLog)
        log.trap = life.trap
        letters = await NatsDeadLetters.open(log, storage=storage)
        worker = DurableWorker(
            flow,
            log,
            letters,
            nodes=life.nodes,
            lease=life.lease,
            max_deliveries=life.max_deliveries,
        )
        async with worker:
            scene.say(f"ready-{os.getpid()}")
            await stopping.wait()


class Lives:
    """The worker processes of one test."""

    def __init__(self, servers: tuple[str, ...], scene: Scene, **fields: Any) -> None:
        self._servers = servers
        self._scene = scene
        self._fields = fields
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.chaos.faults.lives"])
        self._all: list[BaseProcess] = []

    def begin(self, flow: str, trap: str = "", **fields: Any) -> BaseProcess:
        """Start a worker process."""
        life = Life(
            self._servers, flow, str(self._scene.folder), trap, **{**self._fields, **fields}
        )
        process = self._context.Process(target=live, args=(life,), daemon=True)
        process.start()
        self._all.append(process)
        return process

    async def ready(self, process: BaseProcess) -> BaseProcess:
        """Wait until it works."""
        async with asyncio.timeout(30):
            await self._scene.hear(f"ready-{process.pid}")
        return process

    async def end(self, process: BaseProcess) -> int:
        """Wait for its end; returns its exit code."""
        async with asyncio.timeout(30):
            while process.exitcode is None:
                await asyncio.sleep(0.01)
        return process.exitcode

    def close(self) -> None:
        """End what is still there."""
        for process in self._all:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.join()


@contextlib.contextmanager
def lives(servers: tuple[str, ...], scene: Scene, **fields: Any) -> Iterator[Lives]:
    """The worker processes of a test, ended with it."""
    opened = Lives(servers, scene, **fields)
    try:
        yield opened
    finally:
        opened.close()


def signal_to(process: BaseProcess, number: int) -> None:
    """Send a signal to a worker process."""
    assert process.pid is not None
    os.kill(process.pid, number)
