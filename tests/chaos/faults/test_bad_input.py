"""Cases 13, 16 and 25: too much, too deep, no room, and what is lost on the disk."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from penguiflow import Context, Message, StreamChunk
from penguiflow.durable import chunks
from penguiflow.durable.audit import Fault, audit_trace
from penguiflow.durable.chunks import ChunkGap
from penguiflow.durable.client import DurableClient
from penguiflow.durable.log import Key, Kind, LogFull, Subscription
from penguiflow_nats import runtime
from penguiflow_nats.dead_letters import NatsDeadLetters
from penguiflow_nats.log import JetStreamLog
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.streams import Storage
from tests.chaos.faults.checks import sound
from tests.chaos.faults.disk import small_disk
from tests.contract.engine.flows import answer, message, single, square, sum_of_squares

pytestmark = pytest.mark.chaos
LIMIT = 40.0


def log_of(client: object) -> JetStreamLog:
    log = client.log  # type: ignore[attr-defined]
    assert isinstance(log, JetStreamLog)
    return log


@pytest.mark.parametrize("count", [1500, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_case_13_a_slow_reader_of_many_chunks_misses_none_in_bounded_memory(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(chunks, "_PENDING", 100)

    async def talk(msg: Message, ctx: Context) -> Message:
        for number in range(count):
            await ctx.emit_chunk(parent=msg, text=str(number), done=number == count - 1)
        return answer(msg, "said")

    flow = single(talk)
    async with runtime.worker(flow, server.url), runtime.client(flow, server.url) as client:
        seen = []
        async for item in client.stream(message(1), timeout=LIMIT):
            seen.append(item)
            if len(seen) in (5, 500):
                await asyncio.sleep(0.5)
    assert [c.text for c in seen if isinstance(c, StreamChunk)] == [str(n) for n in range(count)]
    assert seen[-1].payload == "said"


async def test_case_13_a_chunk_that_is_kept_no_longer_is_an_error_and_the_result_is_there(
    server: EmbeddedServer,
) -> None:
    async def talk(msg: Message, ctx: Context) -> Message:
        for number in range(50):
            await ctx.emit_chunk(parent=msg, text=str(number), done=number == 49)
        return answer(msg, "said")

    flow = single(talk)
    async with runtime.worker(flow, server.url), runtime.client(flow, server.url) as client:
        msg, log = message(1), log_of(client)
        listen = log.listen_live

        async def deaf(trace: str, heard: Callable[[bytes], None]) -> Subscription:
            return await listen(trace, lambda data: None)

        log.listen_live = deaf  # type: ignore[method-assign]
        fetch = client.fetch

        async def fetched(**options: object) -> object:
            result = await fetch(**options)  # type: ignore[arg-type]
            await log.jetstream.purge_stream(log.names.chunk_stream, keep=5)
            return result

        client.fetch = fetched  # type: ignore[method-assign]
        with pytest.raises(ChunkGap, match="is missing before 45"):
            async for _ in client.stream(msg, timeout=LIMIT):
                pass
        async with runtime.client(flow, server.url) as other:
            assert (await other.fetch(trace_id=msg.trace_id, timeout=LIMIT)).payload == "said"


@pytest.mark.parametrize("shape", ["deep", "wide", "text"])
async def test_case_16_ten_megabytes_of_nonsense_are_buried_and_nobody_is_disturbed(
    tmp_path: Path, shape: str
) -> None:
    size = 10_000_000
    data = {
        "deep": b"\x91" * size,  # arrays inside each other
        "wide": msgspec.json.encode([[[0]]] * (size // 6)),
        "text": b'{"a":' * (size // 5),
    }[shape]
    flow = single(square)
    config = "max_payload: 16MB\nmax_pending: 64MB"
    async with (
        EmbeddedServer(config=config) as server,
        runtime.worker(flow, server.url),
        runtime.client(flow, server.url) as client,
    ):
        log = log_of(client)
        await log.append(Key(Kind.INGRESS, "f" * 32, input="x"), data)
        assert (await client.round_trip(message(2), timeout=LIMIT)).payload == 4
        letters = await NatsDeadLetters.open(log)
        async with asyncio.timeout(LIMIT):
            while not (found := await letters.letters()):
                await asyncio.sleep(0.05)
        assert [letter.reason for letter in found] == ["malformed"]


async def fill(client: DurableClient, accepted: list[str]) -> None:
    while len(accepted) < 2000:
        async with asyncio.timeout(5):
            accepted.append(await client.emit({"fill": "x" * 30_000}))


@pytest.mark.parametrize("form", ["file system", "limit"])
async def test_case_25_a_full_disk_refuses_and_what_was_accepted_is_there_afterwards(
    tmp_path: Path, form: str
) -> None:
    flow = single(square)
    with small_disk(tmp_path, megabytes=24, mount=form == "file system") as disk:
        async with EmbeddedServer(jetstream=False, config=disk.config) as server:
            # A limit of the stream must not be the one that is met.
            storage = Storage(log_bytes=-1, dlq_bytes=10**6, chunk_bytes=10**6)
            async with runtime.client(flow, server.url, storage=storage) as client:
                accepted: list[str] = []
                # At its own limit the server refuses, and `emit` waits for room; on a full disk it
                # says nothing.
                with pytest.raises((TimeoutError, LogFull)):
                    await fill(client, accepted)
                assert accepted
                assert not disk.is_real or "no space left on device" in server.log_tail(50)
                log = log_of(client)
                disk.grow(megabytes=200)
                await server.kill()
                await server.start()
                await log.connection.writable()
                for trace in accepted:
                    assert (await client.books(trace)).submissions == 1
                if disk.is_real:
                    await client.emit({"fill": ""})


async def test_case_25_a_record_lost_on_the_disk_is_found_by_the_audit(
    server: EmbeddedServer,
) -> None:
    flow = sum_of_squares(3)
    async with runtime.worker(flow, server.url), runtime.client(flow, server.url) as client:
        msg = message(3)
        await client.round_trip(msg, timeout=LIMIT)
        await sound(client, msg.trace_id, "join")
        log = log_of(client)
        entries = [entry.stored for entry in (await client.books(msg.trace_id)).entries]
        lost = next(e for e in entries if e.key.kind is Kind.RECORD and e.key.node == "square")
        await log.jetstream.purge_stream(log.names.log_stream, subject=log.names.subject(lost.key))
        left = [entry.stored for entry in (await client.books(msg.trace_id)).entries]
        audit = audit_trace(msg.trace_id, left, now=math.inf, idle=0.0, joins=["join"])
        assert {finding.fault for finding in audit.findings} >= {Fault.LOST}


async def test_case_25_a_flipped_bit_gives_no_wrong_result(server: EmbeddedServer) -> None:
    """The server drops what it cannot read and says nothing; what is gone is unknown."""
    flow = single(square)
    async with runtime.client(flow, server.url) as client:
        async with runtime.worker(flow, server.url):
            traces = [await client.emit(message(n)) for n in range(60)]
            for trace in traces:
                await client.fetch(trace_id=trace, timeout=LIMIT)
        await server.kill()
        stream = next(server.store_dir.rglob(f"streams/{log_of(client).names.log_stream}"))
        block = max((stream / "msgs").glob("*.blk"), key=lambda path: path.stat().st_size)
        data = bytearray(block.read_bytes())
        data[len(data) // 2] ^= 0x10
        block.write_bytes(data)
        for name in ("index.db",):  # what a server writes in a clean end would hide the damage
            (stream / "msgs" / name).unlink(missing_ok=True)
        await server.start()
        async with runtime.client(flow, server.url) as other:
            there = gone = 0
            for number, trace in enumerate(traces):
                books = await other.books(trace)
                audit = audit_trace(trace, (e.stored for e in books.entries), now=math.inf, idle=0)
                if books.results:
                    assert (await other.fetch(trace_id=trace, timeout=LIMIT)).payload == number**2
                    there += 1
                else:
                    gone += 1
                    assert not books.entries or audit.findings
        assert there + gone == 60
    print(f"{gone} of 60 traces were lost by one bit")
