"""Chunks arrive live, in order, and none is missing."""

from __future__ import annotations

from penguiflow import Context, Message
from tests.contract.engine.flows import (
    answer,
    message,
    single,
)
from tests.contract.engine.houses import House


async def test_chunks_arrive_live_before_the_result(house: House) -> None:
    async def talk(msg: Message, ctx: Context) -> Message:
        for number, word in enumerate(("a", "b", "c")):
            await ctx.emit_chunk(parent=msg, text=word, done=number == 2)
        return answer(msg, "abc")

    flow = single(talk)
    await house.worker(flow)
    client = await house.client(flow)
    seen = [item async for item in client.stream(message(1), timeout=10)]
    assert [(c.seq, c.text, c.done) for c in seen[:-1]] == [
        (0, "a", False),
        (1, "b", False),
        (2, "c", True),
    ]
    assert seen[-1].payload == "abc"


async def test_no_chunk_is_missing_when_the_subscription_misses_some(house: House) -> None:
    async def talk(msg: Message, ctx: Context) -> Message:
        for number in range(300):
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
            if heard % 7 and heard < 290:
                callback(data)

        return await listen(trace, sometimes)

    client.log.listen_live = deaf  # type: ignore[method-assign]
    seen = [item async for item in client.stream(message(1), timeout=20)]
    assert [c.text for c in seen[:-1]] == [str(number) for number in range(300)]
    assert [c.seq for c in seen[:3]] == [0, 1, 2]
    assert [c.seq for c in seen[99:101]] == [99, 0]


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
