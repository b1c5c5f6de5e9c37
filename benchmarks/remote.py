"""Calls of agents beside what they are made of: `python -m benchmarks remote`.

All far sides run in processes of their own on this machine, in turn, in one run:

    calls     durable and plain calls by `NatsTransport`, and a bare `nc.request` of nats-py
    cancels   from the caller's cancel to the moment at which the agent's code is interrupted
    streams   1,000 chunks of 64 bytes as a durable stream, by bare publishing with sequence
              numbers, and as server-sent events under uvicorn, three times: a raw ASGI application
              read by a plain socket, with its parser in Python (h11, what `pip install uvicorn`
              gives) and in C (httptools, what uvicorn[standard] gives), and what an application
              has: Starlette, httptools, and httpx to read it. One of each in turn, so that all of
              them meet the same noise; uvicorn takes uvloop where that is installed, we do not.

uvicorn, starlette and httpx are installed into a folder of their own, and left out where they
cannot be.
Rates depend on the machine; only the ratios of one run mean anything.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
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
_UVICORN = _ROOT / ".cache" / "uvicorn-starlette"
_FASTEST = "SSE, uvicorn with httptools"

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


# ---- cancels -------------------------------------------------------------------------------------


async def measure_cancels(transport: NatsTransport, client: Any, count: int) -> list[float]:
    """Milliseconds from a cancel to the moment at which it interrupts the agent's code, sorted.
    Both sides read the same clock of the system."""
    stamps = await client.subscribe("bare.cancelled")
    found = []
    for _ in range(count):
        wanted = request("wait")
        wanted.task_id = secrets.token_hex(16)
        stream = transport.stream(wanted)
        async for event in stream:
            if event.text:
                break
        began = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        await transport.cancel(agent_url=wanted.agent_url, task_id=wanted.task_id)
        stamp = await stamps.next_msg(timeout=30)
        found.append((int(stamp.data) - began) / 1e6)
        await stream.aclose()
    await stamps.unsubscribe()
    return sorted(found)


def _print_cancels(times: list[float]) -> None:
    print("\n| cancel to the interrupted code | p50 ms | p99 ms | longest, ms |")
    print("|---|---|---|---|")
    p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
    print(f"| {len(times)} calls, one after the other | {p50:.2f} | {p99:.2f} | {times[-1]:.2f} |")


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


def httpx_stream(client: Any, port: int) -> Stream:
    async def stream() -> tuple[float, float]:
        began, first, heard = time.perf_counter(), 0.0, 0
        async with client.stream("GET", f"http://127.0.0.1:{port}/") as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    first = first or time.perf_counter() - began
                    heard += 1
        taken = time.perf_counter() - began
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
        packages = ("uvicorn", "httptools", "starlette", "httpx")
        if subprocess.run([*command, *packages], check=False).returncode:
            return None
        (_UVICORN / "ready").touch()
    return _UVICORN


@asynccontextmanager
async def uvicorn(folder: Path, application: str, *options: str) -> AsyncIterator[int]:
    """The port of a server of the application."""
    port = free_port()
    options = ("--port", str(port), "--log-level", "critical", *options)
    command = ("-m", "uvicorn", f"benchmarks.remote_far:{application}", *options)
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


async def run(count: int = 1000, rounds: int = 3, turns: int = 30) -> None:
    """Measure and print the tables.

    Args:
        count: Calls of each kind, one after the other, in each round.
        rounds: How often calls are measured.
        turns: Streams of each kind.
    """
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
        _print_cancels(await measure_cancels(durable, client, count // 2))
        streams = {
            "bare publishing": bare_stream(client),
            "durable stream": durable_stream(durable),
        }
        await run_streams(streams, folder, turns)
        await client.close()


async def run_streams(streams: dict[str, Stream], folder: Path | None, turns: int) -> None:
    """Measure streams and print their table."""
    if folder is None:
        print("\nno server-sent events: uvicorn cannot be installed here")
        _print_streams(await _in_turn(streams, turns))
        return
    sys.path.append(str(folder))
    import httpx

    async with (
        uvicorn(folder, "events", "--http", "h11") as slow,
        uvicorn(folder, "events", "--http", "httptools") as fast,
        uvicorn(folder, "starlette_events", "--factory", "--http", "httptools") as application,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        streams["SSE, uvicorn with h11"] = sse_stream(slow)
        streams[_FASTEST] = sse_stream(fast)
        streams["SSE, Starlette read by httpx"] = httpx_stream(client, application)
        _print_streams(await _in_turn(streams, turns))


async def _in_turn(streams: dict[str, Stream], turns: int) -> dict[str, list[tuple[float, float]]]:
    """Some streams of each kind: one of each, then the next of each."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in streams}
    for stream in streams.values():
        await stream()
    for _ in range(turns):
        for name, stream in streams.items():
            found[name].append(await stream())
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


def _print_streams(found: dict[str, list[tuple[float, float]]]) -> None:
    """Medians; a ratio is that of streams of the same turn."""
    print(f"\n| stream of {CHUNKS} x {len(TEXT)} bytes | x bare | x SSE | chunks/s | first, ms |")
    print("|---|---|---|---|---|")
    for name, samples in found.items():
        bare, fastest = (
            statistics.median(other[1] / own[1] for own, other in zip(samples, them, strict=True))
            if (them := found.get(kind)) is not None
            else math.nan
            for kind in ("bare publishing", _FASTEST)
        )
        first, last = (statistics.median(each[n] for each in samples) for n in (0, 1))
        rate = f"{CHUNKS / last:,.0f}"
        print(f"| {name} | {bare:.2f} | {fastest:.2f} | {rate} | {first * 1000:.1f} |")


if __name__ == "__main__":
    asyncio.run(run())
