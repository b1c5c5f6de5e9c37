"""Chunks arrive live, in order, and none is missing."""

from __future__ import annotations

import asyncio
import uuid

from penguiflow import Context, Message
from tests.contract.engine.flows import (
    answer,
    message,
    single,
)
from tests.contract.engine.houses import House, MemoryHouse


async def test_chunks_arrive_live_before_the_result(house: House) -> None:
    async def talk(msg: Message, ctx: Context) -> Message:
        for number, word in enumerate(("a", "b", "c")):
            await ctx.emit_chunk(parent=msg, text=word, done=number == 2)
        return answer(msg, "abc")

    flow = single(talk)
    await house.worker(flow)
    client = await house.client(flow)
    seen = [item async for item in client.stream(message(1), timeout=30)]
    # On a bad line it may have run before, up to anywhere.
    assert house.calm or len(seen) >= 4
    assert [(c.seq, c.text, c.done) for c in seen[0 if house.calm else -4 : -1]] == [
        (0, "a", False),
        (1, "b", False),
        (2, "c", True),
    ]
    assert seen[-1].payload == "abc"


async def test_no_chunk_is_missing_when_the_subscription_misses_some(house: House) -> None:
    # A run counts only when each chunk was kept, and this line loses more than one in 300.
    count = 10 if isinstance(house, MemoryHouse) and not house.calm else 300

    async def talk(msg: Message, ctx: Context) -> Message:
        for number in range(count):
            await ctx.emit_chunk(parent=msg, text=str(number), done=number % 100 == 99)
        return answer(msg, "said")

    flow = single(talk)
    await house.worker(flow)
    client = await house.client(flow)
    heard = 0
    listen = client.log.listen_live

    async def deaf(trace, callback):  # type: ignore[no-untyped-def]
        def sometimes(data: bytes) -> None:
            nonlocal heard
            heard += 1
            if heard % 7 and heard < count - 10:
                callback(data)

        return await listen(trace, sometimes)

    client.log.listen_live = deaf  # type: ignore[method-assign]
    seen = [item async for item in client.stream(message(1), timeout=20)]
    chunks = seen[-1 - count : -1]
    assert [c.text for c in chunks] == [str(number) for number in range(count)]
    assert [c.seq for c in chunks] == [number % 100 for number in range(count)]
    assert not house.calm or len(seen) == count + 1


async def test_chunks_of_a_run_that_failed_are_followed_by_those_of_the_next(house: House) -> None:
    async def talk(msg: Message, ctx: Context) -> Message:
        await ctx.emit_chunk(parent=msg, text=f"try {ctx.attempt}")
        if ctx.attempt == 0:
            raise ConnectionError("again")
        await ctx.emit_chunk(parent=msg, text="end", done=True)
        return answer(msg, "said")

    flow = single(talk, max_retries=1, backoff_base=0.01)
    await house.worker(flow)
    client = await house.client(flow)
    seen = [item async for item in client.stream(message(1), timeout=20)]
    assert [c.text for c in seen[:-1]] == ["try 0", "try 1", "end"]


async def test_chunks_of_a_run_that_was_handed_back_are_not_mixed_with_those_of_the_next(
    house: House,
) -> None:
    """A hand-back counts no attempt, but the next run says something else."""
    said: list[list[str]] = []
    silent = asyncio.Event()

    async def talk(msg: Message, ctx: Context) -> Message:
        words = [uuid.uuid4().hex for _ in range(4)]
        said.append(words)
        for number, word in enumerate(words):
            await ctx.emit_chunk(parent=msg, text=word, done=number == 3)
            if len(said) == 1 and number == 1:
                silent.set()
                await asyncio.Event().wait()
        return answer(msg, words)

    flow = single(talk)
    first = await house.worker(flow)
    client = await house.client(flow)
    stream = client.stream(message(1), timeout=30)
    seen = [await anext(stream), await anext(stream)]
    await asyncio.wait_for(silent.wait(), 30)
    await first.stop(drain=0.05)
    await house.worker(flow)
    seen += [item async for item in stream]
    words = [chunk.text for chunk in seen[:-1]]
    assert words[:2] == said[0][:2]
    assert words[-4:] == said[-1]
    assert seen[-1].payload == said[-1]
    # On a bad line it may have run once more in between; then that run began anew too.
    assert words == [word for run in said for word in run if word in words]
