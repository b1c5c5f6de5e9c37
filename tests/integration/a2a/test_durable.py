"""Replicas and workers are killed at any moment: tasks go on and end, followers miss nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from a2a.types import a2a_pb2 as pb

from penguiflow_nats.server import EmbeddedServer, free_port
from tests.integration.a2a.wire import JsonRpc, collect, text

ROOT = Path(__file__).resolve().parents[3]
DEADLINE = "urn:penguiflow:a2a:deadline"
OVER = (pb.TASK_STATE_COMPLETED, pb.TASK_STATE_FAILED, pb.TASK_STATE_CANCELED)
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


class Replica:
    """A process that serves."""

    def __init__(self, process: asyncio.subprocess.Process, wire: JsonRpc) -> None:
        self.process = process
        self.wire = wire

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    async def task(self, task_id: str) -> pb.Task:
        found: pb.Task = await self.wire.call("GetTask", pb.GetTaskRequest(id=task_id))
        return found

    async def ended(self, task_id: str) -> pb.Task:
        async with asyncio.timeout(40):
            while (task := await self.task(task_id)).status.state not in OVER:
                await asyncio.sleep(0.05)
        return task


Start = Callable[..., Awaitable[Replica]]


@pytest.fixture
async def start(server: EmbeddedServer) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def start(*, works: bool = True) -> Replica:
            port = free_port()
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.integration.a2a.replica_app",
                server.url,
                str(port),
                "works" if works else "serves",
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
            )
            client = httpx.AsyncClient(timeout=60.0)
            replica = Replica(process, JsonRpc(f"http://127.0.0.1:{port}", client))
            stack.push_async_callback(client.aclose)
            stack.push_async_callback(replica.kill)
            assert process.stdout is not None
            async with asyncio.timeout(30):
                assert (await process.stdout.readline()).strip() == b"ready"
            return replica

        yield start


def begin(content: str, **more: Any) -> pb.SendMessageRequest:
    return text(content, configuration={"return_immediately": True}, **more)


async def working(replica: Replica, task_id: str) -> None:
    async with asyncio.timeout(30):
        while (await replica.task(task_id)).status.state != pb.TASK_STATE_WORKING:
            await asyncio.sleep(0.02)


async def test_a_task_ends_though_its_replica_and_worker_were_killed(start: Start) -> None:
    first, second = await start(), await start(works=False)
    task = (await first.wire.call("SendMessage", begin("slow 1"))).task
    await working(second, task.id)
    await first.kill()
    await start()
    done = await second.ended(task.id)
    assert done.status.state == pb.TASK_STATE_COMPLETED
    assert [each.parts[0].text for each in done.artifacts] == ["begun,", "slept"]


async def test_a_follower_on_another_replica_goes_on_when_the_worker_is_killed(
    start: Start,
) -> None:
    first, second = await start(), await start(works=False)
    task = (await first.wire.call("SendMessage", begin("slow 2"))).task
    await working(second, task.id)
    request = pb.SubscribeToTaskRequest(id=task.id)
    following = asyncio.create_task(collect(second.wire, "SubscribeToTask", request))
    await asyncio.sleep(0.3)
    await first.kill()
    await start()
    events = await following
    assert events[0].task.id == task.id
    assert events[-1].status_update.status.state == pb.TASK_STATE_COMPLETED
    artifacts: dict[str, str] = {
        each.artifact_id: each.parts[0].text for each in events[0].task.artifacts
    }
    for event in events[1:]:
        if event.HasField("artifact_update"):
            update = event.artifact_update
            before = artifacts.get(update.artifact.artifact_id, "") if update.append else ""
            artifacts[update.artifact.artifact_id] = before + update.artifact.parts[0].text
    assert artifacts == {"stream": "begun,", "result": "slept"}


async def test_a_stream_is_resumed_on_another_replica(start: Start) -> None:
    first, second, _ = await start(works=False), await start(works=False), await start()
    seen = ""
    async with aclosing(first.wire.stream("SendStreamingMessage", text("slow 2"))) as events:
        async for event in events:
            if event.HasField("task"):
                task_id = event.task.id
            if event.HasField("artifact_update"):
                seen += event.artifact_update.artifact.parts[0].text
                break
    await first.kill()
    rest = await collect(second.wire, "SubscribeToTask", pb.SubscribeToTaskRequest(id=task_id))
    assert rest[0].task.artifacts[0].parts[0].text == seen
    texts = [
        each.artifact_update.artifact.parts[0].text
        for each in rest[1:]
        if each.HasField("artifact_update")
    ]
    assert texts == ["", "slept"]  # the stream is closed, then the result
    assert (await second.task(task_id)).status.state == pb.TASK_STATE_COMPLETED


async def test_a_cancel_on_another_replica_stops_the_running_code(
    start: Start, tmp_path: Path
) -> None:
    first, second = await start(), await start(works=False)
    mark = tmp_path / "mark"
    task = (await first.wire.call("SendMessage", begin(f"mark {mark}"))).task
    await working(second, task.id)
    cancelled = await second.wire.call("CancelTask", pb.CancelTaskRequest(id=task.id))
    assert cancelled.status.state == pb.TASK_STATE_CANCELED
    async with asyncio.timeout(20):
        while not mark.exists():
            await asyncio.sleep(0.02)
    assert mark.read_text() == "cancelled"
    for replica in (first, second):
        assert (await replica.task(task.id)).status.state == pb.TASK_STATE_CANCELED


@pytest.mark.slow
async def test_a_task_that_nobody_finishes_fails_by_its_deadline(start: Start) -> None:
    alone = await start(works=False)
    task = (await alone.wire.call("SendMessage", begin("hello", metadata={DEADLINE: 1.0}))).task
    failed = await alone.ended(task.id)
    assert failed.status.state == pb.TASK_STATE_FAILED
    assert "DEADLINE_EXCEEDED" in failed.status.message.parts[0].text
    waiting = text("hello", metadata={DEADLINE: 1.0})
    blocked = (await alone.wire.call("SendMessage", waiting)).task
    assert blocked.status.state == pb.TASK_STATE_FAILED


async def test_the_same_key_at_once_on_two_replicas_is_one_task(start: Start) -> None:
    first, second = await start(), await start()
    keyed = {"metadata": {"urn:penguiflow:a2a:idempotency-key": "once"}}
    answers = await asyncio.gather(
        *(each.wire.call("SendMessage", text("hello", **keyed)) for each in (first, second) * 3)
    )
    assert len({each.task.id for each in answers}) == 1
    listed = await first.wire.call("ListTasks", pb.ListTasksRequest())
    assert (len(listed.tasks), listed.total_size) == (1, 1)


async def test_a_cancelled_task_that_nobody_began_stays_cancelled(start: Start) -> None:
    alone = await start(works=False)
    task = (await alone.wire.call("SendMessage", begin("hello"))).task
    cancelled = await alone.wire.call("CancelTask", pb.CancelTaskRequest(id=task.id))
    assert cancelled.status.state == pb.TASK_STATE_CANCELED
    worker = await start()
    other = (await worker.wire.call("SendMessage", text("hello"))).task
    assert other.status.state == pb.TASK_STATE_COMPLETED
    assert (await alone.task(task.id)).status.state == pb.TASK_STATE_CANCELED


async def test_a_question_is_answered_on_another_replica_after_the_worker_died(
    start: Start,
) -> None:
    first, second = await start(), await start(works=False)
    asked = (await first.wire.call("SendMessage", text("ask"))).task
    assert asked.status.state == pb.TASK_STATE_INPUT_REQUIRED
    await first.kill()
    await start()
    answer = text("that", task_id=asked.id)
    done = (await second.wire.call("SendMessage", answer)).task
    assert done.status.state == pb.TASK_STATE_COMPLETED
