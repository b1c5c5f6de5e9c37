"""A2A servers side by side: `python -m benchmarks a2a`.

All far sides run in processes of their own on this machine, in turn, in one run: the service over a
board on NATS (durable), the same over the board in memory, and the SDK's default server with its
memory store and with its SQL cluster store. The near side is a plain socket, so that the figures
are those of the servers. Rates depend on the machine; only the ratios of one run mean anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penguiflow_nats.server import EmbeddedServer, free_port

IN_FLIGHT = 64
STREAMS = (200, 1_000, 10_000)
_ROOT = Path(__file__).resolve().parent.parent
_ids = itertools.count()


class Http:
    """One connection that stays open; JSON-RPC over it, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Http:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**24))

    def close(self) -> None:
        self._writer.close()

    async def begin(self, method: str, params: dict[str, Any]) -> dict[str, str]:
        content = {"jsonrpc": "2.0", "id": next(_ids), "method": method, "params": params}
        body = json.dumps(content).encode()
        head = (
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"A2A-Version: 1.0\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        assert " 200 " in lines[0], lines[0]
        return dict(line.lower().split(": ", 1) for line in lines[1:] if line)

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        headers = await self.begin(method, params)
        answer = json.loads(await self._reader.readexactly(int(headers["content-length"])))
        assert "error" not in answer, answer
        return answer["result"]

    async def events(self, method: str, params: dict[str, Any]) -> AsyncIterator[bytes]:
        """The data of each event of a stream."""
        headers = await self.begin(method, params)
        assert "event-stream" in headers["content-type"]
        rest = b""
        while size := int(await self._reader.readline(), 16):
            rest += (await self._reader.readexactly(size + 2))[:-2]
            *whole, rest = rest.replace(b"\r\n", b"\n").split(b"\n\n")
            for each in whole:
                if each.startswith(b"data:"):
                    yield each[5:]
        await self._reader.readline()


def message(text: str) -> dict[str, Any]:
    return {
        "message": {"messageId": f"m{next(_ids)}", "role": "ROLE_USER", "parts": [{"text": text}]}
    }


@dataclass
class Figures:
    """What one server does."""

    p50: float = 0.0
    p99: float = 0.0
    rate: float = 0.0
    chunks: dict[int, float] = field(default_factory=dict)


async def sends(port: int, figures: Figures, count: int, many: int) -> None:
    http = await Http.open(port)
    for _ in range(min(50, count)):
        await http.call("SendMessage", message("hello"))
    times = []
    for _ in range(count):
        began = time.perf_counter()
        task = await http.call("SendMessage", message("hello"))
        times.append((time.perf_counter() - began) * 1000)
        assert task["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
    http.close()
    figures.p50 = statistics.median(times)
    figures.p99 = sorted(times)[int(len(times) * 0.99)]

    async def worker(left: itertools.count[int]) -> None:
        connection = await Http.open(port)
        while next(left) < many:
            await connection.call("SendMessage", message("hello"))
        connection.close()

    left, began = itertools.count(), time.perf_counter()
    await asyncio.gather(*(worker(left) for _ in range(IN_FLIGHT)))
    figures.rate = many / (time.perf_counter() - began)


async def streams(port: int, figures: Figures, sizes: tuple[int, ...], repeat: int) -> None:
    for size in sizes:
        rates = []
        for _ in range(repeat):
            http = await Http.open(port)
            began, got = time.perf_counter(), 0
            async for event in http.events("SendStreamingMessage", message(f"stream {size}")):
                got += b'"artifactUpdate"' in event and b"xxxx" in event
            rates.append(size / (time.perf_counter() - began))
            assert got == size, (got, size)
            http.close()
        figures.chunks[size] = statistics.median(rates)


async def follower(near: int, far: int, count: int) -> list[float]:
    """Milliseconds by which an event comes later on another replica than on the one that works."""
    first, second = await Http.open(near), await Http.open(far)
    stream = first.events("SendStreamingMessage", message(f"wait {count}"))
    task = json.loads(await anext(stream))["result"]["task"]["id"]
    told: tuple[list[float], list[float]] = ([], [])

    async def listen(events: AsyncIterator[bytes], times: list[float]) -> None:
        async for event in events:
            if b'"artifactUpdate"' in event and b"xxxx" in event:
                times.append(time.perf_counter())  # noqa: PERF401 - as each comes

    await asyncio.gather(
        listen(stream, told[0]), listen(second.events("SubscribeToTask", {"id": task}), told[1])
    )
    first.close()
    second.close()
    # Events that were already there when the second one came are in its first task.
    return [(b - a) * 1000 for a, b in zip(told[0][::-1], told[1][::-1], strict=False)]


@asynccontextmanager
async def far(which: str, server: str) -> AsyncIterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.a2a_far", which, str(port), server]
    process = subprocess.Popen(command, cwd=_ROOT)
    try:
        for _ in range(400):
            with contextlib.suppress(OSError):
                (await Http.open(port)).close()
                break
            await asyncio.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


async def measure(which: str, server: str) -> Figures:
    figures, slow = Figures(), which == "sql"
    async with far(which, server) as port:
        await sends(port, figures, 40 if slow else 500, 64 if slow else 3_000)
        sizes = STREAMS[:2] if slow else STREAMS
        await streams(port, figures, sizes, 1 if which in ("sql", "sdk") else 3)
    return figures


async def run() -> None:
    """Print the table."""
    names = {
        "ours": "durable, on NATS",
        "memory": "board in memory",
        "sdk": "SDK, memory store",
        "sql": "SDK, SQL cluster store",
    }
    if importlib.util.find_spec("sqlalchemy") is None:
        del names["sql"]
    print(
        "| server | send p50 / p99 ms | sends/s, 64 in flight | chunks/s of 200 / 1,000 / 10,000 |"
    )
    print("|---|---|---|---|")
    async with EmbeddedServer() as server:
        for which, name in names.items():
            got = await measure(which, server.url)
            chunks = " / ".join(f"{got.chunks.get(size, 0):,.0f}" for size in STREAMS)
            print(
                f"| {name} | {got.p50:.1f} / {got.p99:.1f} | {got.rate:,.0f} | {chunks} |",
                flush=True,
            )
        async with far("ours", server.url) as near, far("replica", server.url) as other:
            behind = await follower(near, other, 200)
        quantiles = statistics.quantiles(behind, n=100)
        print(
            f"\nA follower on another replica is {quantiles[49]:.1f} ms (p50), "
            f"{quantiles[98]:.1f} ms (p99) behind one where the task was sent; "
            f"{len(behind)} events."
        )
