"""Chunks that were kept in another order than they were made come in order; a gap is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from penguiflow import Headers, Message, StreamChunk
from penguiflow.durable.chunks import ChunkFollower, ChunkGap
from penguiflow.durable.codec import TypeMap, ValueCodec
from penguiflow.durable.envelope import EGRESS
from penguiflow.durable.hints import ChunkHint
from penguiflow.memory.log import MemoryLog

TRACE = "a" * 32


@pytest.fixture
async def log() -> AsyncIterator[MemoryLog]:
    log = MemoryLog("default", "flow")
    yield log
    await log.close()


@pytest.fixture
def codec() -> ValueCodec:
    return ValueCodec(TypeMap())


def chunk(codec: ValueCodec, number: int, attempt: int = 0, node: str = "talk") -> bytes:
    piece = StreamChunk(stream_id="s", seq=number, text=f"{node} {attempt}.{number}")
    message = Message(payload=piece, headers=Headers(tenant="default"), trace_id=TRACE)
    output = codec.pack_output(message, (EGRESS,), TRACE)
    return msgspec.msgpack.encode(ChunkHint(node, "input", attempt, number, output))


async def followed(
    log: MemoryLog,
    codec: ValueCodec,
    chunks: list[bytes],
    *,
    live: bool,
    failure: Exception | None = None,
) -> list[str]:
    """What a reader gets of these chunks, told live or only kept, when the run is over."""
    found: list[str] = []
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    if not live:
        for data in chunks:
            await log.publish_live(TRACE, data)
    async with ChunkFollower(log, codec, TRACE) as follower:

        async def read() -> None:
            async for piece in follower.until(done):
                found.append(piece.text)  # noqa: PERF401 - kept when it raises

        reading = asyncio.create_task(read())
        for data in chunks if live else []:
            await log.publish_live(TRACE, data)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)
        await asyncio.wait_for(reading, 10)
    return found


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3), (3, 2, 1, 0), (1, 0, 3, 2)])
async def test_any_order_comes_out_as_it_was_made(
    log: MemoryLog, codec: ValueCodec, order: tuple[int, ...], live: bool
) -> None:
    chunks = [chunk(codec, number) for number in order]
    assert await followed(log, codec, chunks, live=live) == [f"talk 0.{n}" for n in range(4)]


@pytest.mark.parametrize("live", [True, False])
async def test_a_chunk_that_never_comes_is_told_with_its_number(
    log: MemoryLog, codec: ValueCodec, live: bool
) -> None:
    chunks = [chunk(codec, number) for number in (0, 1, 3)]
    with pytest.raises(ChunkGap, match="chunk 2 of node 'talk' is missing before 3"):
        await followed(log, codec, chunks, live=live)


async def test_the_failure_of_a_run_is_not_hidden_by_what_it_did_not_stream(
    log: MemoryLog, codec: ValueCodec
) -> None:
    chunks = [chunk(codec, number) for number in (0, 2)]
    found = await followed(log, codec, chunks, live=True, failure=ValueError("the node failed"))
    assert found == ["talk 0.0"]


@pytest.mark.parametrize("live", [True, False])
async def test_a_later_attempt_ends_an_earlier_one_wherever_it_was(
    log: MemoryLog, codec: ValueCodec, live: bool
) -> None:
    of_each = [(0, 0), (2, 0), (1, 1), (0, 1), (1, 0), (2, 1)]
    chunks = [chunk(codec, number, attempt) for number, attempt in of_each]
    found = await followed(log, codec, chunks, live=live)
    assert [text for text in found if text.startswith("talk 1.")] == [
        "talk 1.0",
        "talk 1.1",
        "talk 1.2",
    ]


async def test_two_nodes_do_not_wait_for_each_other(log: MemoryLog, codec: ValueCodec) -> None:
    chunks = [chunk(codec, 1), chunk(codec, 0, node="sing"), chunk(codec, 0)]
    assert await followed(log, codec, chunks, live=False) == ["sing 0.0", "talk 0.0", "talk 0.1"]
