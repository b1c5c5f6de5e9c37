"""What every peer does: handle messages in stages, timed. Standard library only.

Each script of this folder runs in an environment of its own, with its own folder on the path, and
prints one line of JSON. All messages are stored before the clock starts; it runs from the start of
the worker until the last stage has seen every message.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

SIZE = 256
SAMPLES = 300
LIMIT = 600.0


def message(number: int) -> dict[str, Any]:
    """A message that is 256 bytes of JSON."""
    bare = {"id": number, "text": ""}
    return {**bare, "text": "x" * (SIZE - len(json.dumps(bare)))}


class Stages:
    """Counts what the last stage sees."""

    def __init__(self) -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("--url", required=True)
        parser.add_argument("--stages", type=int, default=1)
        parser.add_argument("--count", type=int, default=20_000)
        options = parser.parse_args()
        self.url: str = options.url
        self.stages: int = options.stages
        self.count: int = options.count
        self._seen: set[int] = set()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._all = asyncio.Event()
        self._started = (0.0, 0.0)
        self._figures: dict[str, float] = {}

    @property
    def last(self) -> int:
        """The number of the last stage."""
        return self.stages - 1

    def handled(self, body: dict[str, Any]) -> None:
        """The last stage has a message."""
        number = body["id"]
        self._seen.add(number)
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting.set_result(None)
        if len(self._seen) == self.count and "rate" not in self._figures:
            wall = time.perf_counter() - self._started[0]
            cpu = time.process_time() - self._started[1]
            self._figures["rate"] = self.count / wall
            self._figures["cpu_us"] = cpu / self.count * 1e6
            self._all.set()

    def start(self) -> None:
        """The worker is about to start."""
        self._started = (time.perf_counter(), time.process_time())

    async def finished(self) -> None:
        """Every message was seen by the last stage."""
        async with asyncio.timeout(LIMIT):
            await self._all.wait()

    async def latency(self, send: Callable[[dict[str, Any]], Awaitable[Any]]) -> None:
        """Send one message at a time through the idle stages."""
        await asyncio.sleep(1.0)
        times = []
        for number in range(self.count, self.count + SAMPLES):
            waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
            started = time.perf_counter()
            await send(message(number))
            async with asyncio.timeout(30):
                await waiting
            times.append(time.perf_counter() - started)
            await asyncio.sleep(0.002)
        times.sort()
        self._figures["p50_ms"] = times[len(times) // 2] * 1000
        self._figures["p99_ms"] = times[int(len(times) * 0.99)] * 1000

    def report(self) -> None:
        """Print the figures."""
        print(json.dumps(self._figures), flush=True)


async def in_batches(
    count: int, send: Callable[[dict[str, Any]], Awaitable[Any]], size: int = 250
) -> None:
    """Store every message, some at once."""
    for start in range(0, count, size):
        batch = range(start, min(start + size, count))
        await asyncio.gather(*(send(message(number)) for number in batch))
