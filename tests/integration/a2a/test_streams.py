"""Streams under bad conditions: readers that are slow or gone, requests that are large or wrong."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from a2a.types import a2a_pb2 as pb

from penguiflow import Message
from penguiflow_a2a.config import A2AConfig
from tests.integration.a2a.conftest import Serve
from tests.integration.a2a.wire import collect, text

pytestmark = pytest.mark.timeout(120)


async def talkative(message: Message, ctx: Any) -> str:
    """Streams as much as it is told to."""
    word, count = str(message.payload).split()
    for number in range(int(count)):
        await ctx.emit("x" * 1000, done=number + 1 == int(count))
        if word == "slow":
            await asyncio.sleep(0.01)
    return "done"


async def test_a_stream_of_10_000_chunks_is_complete_and_stores_its_text_once(
    serve: Serve, binding: str
) -> None:
    wire = (await serve(agent=talkative)).wire(binding)
    events = await collect(wire, "SendStreamingMessage", text("fast 10000"))
    chunks = [each for each in events if each.artifact_update.artifact.artifact_id == "stream"]
    assert len(chunks) == 10_000
    if binding != "GRPC":  # whose clients take 4 MB by default
        task = await wire.call("GetTask", pb.GetTaskRequest(id=events[0].task.id))
        assert len(task.artifacts[0].parts[0].text) == 10_000_000


async def test_a_slow_reader_gets_everything_and_holds_up_nobody(serve: Serve) -> None:
    served = await serve(agent=talkative)
    slow, fast = served.wire("JSONRPC"), served.wire("HTTP+JSON")
    got = 0
    stream = slow.stream("SendStreamingMessage", text("fast 5000"))
    first = await anext(stream)
    task_id = first.task.id
    await asyncio.sleep(0.5)  # it reads nothing meanwhile
    async with asyncio.timeout(30):
        while (await fast.call("GetTask", pb.GetTaskRequest(id=task_id))).status.state != (
            pb.TASK_STATE_COMPLETED
        ):
            await asyncio.sleep(0.05)
    async for event in stream:
        got += event.artifact_update.artifact.artifact_id == "stream"
    assert got == 5000


async def test_a_client_that_goes_away_leaves_the_task_alone(serve: Serve, binding: str) -> None:
    wire = (await serve(agent=talkative)).wire(binding)
    stream = wire.stream("SendStreamingMessage", text("slow 100"))
    first = await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    rest = await collect(wire, "SubscribeToTask", pb.SubscribeToTaskRequest(id=first.task.id))
    assert rest[-1].status_update.status.state == pb.TASK_STATE_COMPLETED


async def test_a_large_part_goes_through(serve: Serve) -> None:
    async def size(message: Message, ctx: Any) -> int:
        return len(message.payload)

    wire = (await serve(agent=size, config=A2AConfig(max_body=64 * 1024**2))).wire("JSONRPC")
    task = (await wire.call("SendMessage", text("x" * 10_000_000))).task
    assert task.artifacts[0].parts[0].data.number_value == 10_000_000
    assert len(task.history[0].parts[0].text) == 10_000_000


async def test_many_followers_see_the_same(serve: Serve) -> None:
    everybody_is_there = asyncio.Event()
    here = 0

    async def agent(message: Message, ctx: Any) -> str:
        await everybody_is_there.wait()
        return await talkative(message, ctx)

    wire = (await serve(agent=agent)).wire("GRPC")
    request = text("slow 100", configuration={"return_immediately": True})
    task = (await wire.call("SendMessage", request)).task

    async def follow() -> Any:
        nonlocal here
        last = None
        stream = wire.stream("SubscribeToTask", pb.SubscribeToTaskRequest(id=task.id))
        async with aclosing(stream) as events:  # type: ignore[type-var]
            async for event in events:
                if last is None:
                    here += 1
                    if here == 100:
                        everybody_is_there.set()
                last = event
        return last

    last = await asyncio.gather(*(follow() for _ in range(100)))
    ends = {each.status_update.status.state for each in last}
    assert ends == {pb.TASK_STATE_COMPLETED}
