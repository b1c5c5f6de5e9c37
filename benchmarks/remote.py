"""Calls of agents beside what they are made of: `python -m benchmarks remote`.

All far sides run in processes of their own on this machine, in turn, in one run:

    calls     durable and plain calls by `NatsTransport`, and a bare `nc.request` of nats-py
    streams   1,000 chunks of 64 bytes as a durable stream, by bare publishing with sequence
              numbers, and as server-sent events of a raw ASGI application under uvicorn, read by
              a plain socket: with its parser in Python (h11) and in C (httptools)

uvicorn is no dependency: it is installed into a folder of its own, and left out where it cannot.
Rates depend on the machine; only the ratios of one run mean anything.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats

from benchmarks.remote_far import CHUNKS, TEXT
from penguiflow import Headers, Message
from penguiflow.remote import RemoteCallRequest
from penguiflow_nats.server import EmbeddedServer, free_port
from penguiflow_nats.transport import NatsTransport

IN_FLIGHT = 64
_ROOT = Path(__file__).resolve().parent.parent
_UVICORN = _ROOT / ".cache" / "uvicorn"

Call = Callable[[], Awaitable[Any]]
Stream = Callable[[], Awaitable[tuple[float, float]]]
"""Gives the seconds to the first chunk and to the last one."""


@dataclass(frozen=True)
class Calls:
    """Milliseconds one after the other, and calls per second of many."""

    p50: float
    p99: float
    rate: float


async def measure_calls(call: Call, count: int) -> Calls:
    for _ in range(50):
        await call()
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await call()
        times.append((time.perf_counter() - began) * 1000)
    left = 2 * count

    async def caller() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    rate = 2 * count / (time.perf_counter() - began)
    times.sort()
    return Calls(times[len(times) // 2], times[int(len(times) * 0.99)], rate)


def request(skill: str) -> RemoteCallRequest:
    message = Message(payload=TEXT, headers=Headers(tenant="default"))
    return RemoteCallRequest(message=message, skill=skill, agent_url="nats://far", timeout_s=60)


# ---- streams -------------------------------------------------------------------------------------


def durable_stream(transport: NatsTransport) -> Stream:
    async def stream() -> tuple[float, float]:
        began, first, heard = time.perf_counter(), 0.0, 0
        async for event in transport.stream(request("stream")):
            if event.text:
                first = first or time.perf_counter() - began
                heard += 1
        assert heard == CHUNKS
        return first, time.perf_counter() - began

    return stream


def bare_stream(client: Any) -> Stream:
    async def stream() -> tuple[float, float]:
        done, first, heard = asyncio.Event(), 0.0, 0

        async def receive(message: Any) -> None:
            nonlocal first, heard
            first = first or time.perf_counter() - began
            assert int.from_bytes(message.data[:8]) == heard
            heard += 1
            if heard == CHUNKS:
                done.set()

        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox, cb=receive)
        began = time.perf_counter()
        await client.publish("bare.stream", b"", reply=inbox)
        await asyncio.wait_for(done.wait(), 60)
        taken = time.perf_counter() - began
        await subscription.unsubscribe()
        return first, taken

    return stream


def sse_stream(port: int) -> Stream:
    async def stream() -> tuple[float, float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began, first, heard = time.perf_counter(), 0.0, 0
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        async for line in reader:
            if line.startswith(b"data: "):
                first = first or time.perf_counter() - began
                heard += 1
        taken = time.perf_counter() - began
        writer.close()
        await writer.wait_closed()
        assert heard == CHUNKS
        return first, taken

    return stream


# ---- far sides -----------------------------------------------------------------------------------


@asynccontextmanager
async def process(*command: str, **variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=_ROOT,
        env=os.environ | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.terminate()
        await started.communicate()


def uvicorn_folder() -> Path | None:
    """A folder with uvicorn, made if it is missing; None where it cannot be installed."""
    if not (_UVICORN / "ready").exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(_UVICORN)]
        if subprocess.run([*command, "uvicorn", "httptools"], check=False).returncode:
            return None
        (_UVICORN / "ready").touch()
    return _UVICORN


@asynccontextmanager
async def uvicorn(parser: str, folder: Path) -> AsyncIterator[int]:
    """The port of a server with this parser."""
    port = free_port()
    options = ("--port", str(port), "--log-level", "critical", "--http", parser)
    command = ("-m", "uvicorn", "benchmarks.remote_far:events", *options)
    async with process(*command, PYTHONPATH=f"{_ROOT}:{folder}"):
        async with asyncio.timeout(30):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield port


# ---- the run -------------------------------------------------------------------------------------


async def run(count: int = 1000, rounds: int = 3) -> None:
    """Measure and print two tables."""
    folder = uvicorn_folder()
    async with (
        EmbeddedServer() as server,
        process("-m", "benchmarks.remote_far", "nats", server.url) as far,
        NatsTransport(server.url) as durable,
        NatsTransport(server.url, durable=False) as plain,
    ):
        assert far.stdout is not None
        assert (await far.stdout.readline()).strip() == b"ready"
        client = await nats.connect(server.url)
        calls: dict[str, Call] = {
            "bare request": lambda: client.request("bare.echo", TEXT.encode(), timeout=30),
            "plain call": lambda: plain.send(request("echo")),
            "durable call": lambda: durable.send(request("echo")),
        }
        _print_calls(
            [
                {name: await measure_calls(each, count) for name, each in calls.items()}
                for _ in range(rounds)
            ]
        )
        streams = {
            "bare publishing": bare_stream(client),
            "durable stream": durable_stream(durable),
        }
        await _run_streams(streams, folder, rounds)
        await client.close()


async def _run_streams(streams: dict[str, Stream], folder: Path | None, rounds: int) -> None:
    if folder is None:
        print("\nno server-sent events: uvicorn cannot be installed here")
        _print_streams([await _each(streams) for _ in range(rounds)])
        return
    async with uvicorn("h11", folder) as slow, uvicorn("httptools", folder) as fast:
        streams["SSE, uvicorn with h11"] = sse_stream(slow)
        streams["SSE, uvicorn with httptools"] = sse_stream(fast)
        _print_streams([await _each(streams) for _ in range(rounds)])


async def _each(streams: dict[str, Stream], times: int = 7) -> dict[str, tuple[float, float]]:
    """The median of some streams of each kind."""
    found = {}
    for name, stream in streams.items():
        await stream()
        samples = [await stream() for _ in range(times)]
        firsts, lasts = zip(*samples, strict=True)
        found[name] = (statistics.median(firsts), statistics.median(lasts))
    return found


def _print_calls(rounds: list[dict[str, Calls]]) -> None:
    print(f"| call | p50 x bare | p50 ms | p99 ms | calls/s at {IN_FLIGHT} in flight |")
    print("|---|---|---|---|---|")
    for name in rounds[0]:
        ratio = statistics.median(each[name].p50 / each["bare request"].p50 for each in rounds)
        p50, p99, rate = (
            statistics.median(getattr(each[name], field) for each in rounds)
            for field in ("p50", "p99", "rate")
        )
        print(f"| {name} | {ratio:.2f} | {p50:.2f} | {p99:.2f} | {rate:,.0f} |")


def _print_streams(rounds: list[dict[str, tuple[float, float]]]) -> None:
    print(f"\n| stream of {CHUNKS} x {len(TEXT)} bytes | x bare | chunks/s | first chunk, ms |")
    print("|---|---|---|---|")
    for name in rounds[0]:
        ratio = statistics.median(each["bare publishing"][1] / each[name][1] for each in rounds)
        first, last = (statistics.median(each[name][n] for each in rounds) for n in (0, 1))
        print(f"| {name} | {ratio:.2f} | {CHUNKS / last:,.0f} | {first * 1000:.1f} |")


if __name__ == "__main__":
    asyncio.run(run())
