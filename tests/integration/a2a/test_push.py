"""Webhooks are told each event in order; a slow one delays nobody, a dead sender loses nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from a2a.types import a2a_pb2 as pb
from google.protobuf.json_format import ParseDict

from penguiflow import Message
from penguiflow.serving.in_memory import InMemoryTaskBoard
from penguiflow.serving.push_queue import MemoryPushQueue
from penguiflow_a2a import A2AService, OutboundPolicy, PushLimits, PushSender
from penguiflow_nats.board import NatsTaskBoard
from penguiflow_nats.push_queue import NatsPushQueue
from penguiflow_nats.server import EmbeddedServer
from tests.integration.a2a.agents import flow
from tests.integration.a2a.conftest import Served, card, served
from tests.integration.a2a.wire import Refused, text

LOCAL = OutboundPolicy(allow_private=True)
QUICK = PushLimits(first_wait=0.05, longest_wait=0.1, lease=1.0, look_every=0.1, attempts=3)


class Webhook:
    """Takes notifications."""

    def __init__(self) -> None:
        self.url = ""
        self.heads: list[dict[str, str]] = []
        self.bodies: list[Any] = []
        self.status = 200
        self.open = asyncio.Event()
        self.open.set()
        self.changed = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
                found = {k.lower(): v for k, _, v in (line.partition(": ") for line in head)}
                body = await reader.readexactly(int(found["content-length"]))
                await self.open.wait()
                async with self.changed:
                    self.heads.append(found)
                    self.bodies.append(json.loads(body))
                    self.changed.notify_all()
                writer.write(f"HTTP/1.1 {self.status} X\r\ncontent-length: 0\r\n\r\n".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def until_over(self) -> list[Any]:
        def over() -> bool:
            return any("TASK_STATE_COMPLETED" in json.dumps(each) for each in self.bodies)

        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(over)
        return self.bodies

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(lambda: len(self.bodies) >= count)


@asynccontextmanager
async def webhook() -> AsyncIterator[Webhook]:
    hook = Webhook()
    server = await asyncio.start_server(hook.serve, "127.0.0.1", 0)
    hook.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?secret=1"
    try:
        yield hook
    finally:
        hook.open.set()
        server.close()


class Push:
    """A service that pushes, on either board; `again` begins another replica of it."""

    def __init__(self, stack: AsyncExitStack, url: str) -> None:
        self._stack = stack
        self._url = url
        self._board = InMemoryTaskBoard()
        self._queue = MemoryPushQueue()

    async def serve(self, agent: Any = None) -> tuple[Served, PushSender]:
        queue: Any = NatsPushQueue(self._url, agent="pusher") if self._url else self._queue
        board: Any = NatsTaskBoard(self._url, agent="pusher") if self._url else self._board
        sender = PushSender(queue, policy=LOCAL, limits=QUICK)
        service = A2AService(
            agent or flow(),
            agent_card=card(streaming=True, push_notifications=True),
            store=board,
            push_sender=sender,
        )
        return await self._stack.enter_async_context(served(service)), sender


@pytest.fixture(params=["memory", "nats"])
async def push(request: pytest.FixtureRequest) -> AsyncIterator[Push]:
    async with AsyncExitStack() as stack:
        url = ""
        if request.param == "nats":
            url = (await stack.enter_async_context(EmbeddedServer())).url
        yield Push(stack, url)


def inline(hook: Webhook, **fields: Any) -> dict[str, Any]:
    config = pb.TaskPushNotificationConfig(url=hook.url, **fields)
    return {"task_push_notification_config": config, "return_immediately": True}


def kinds(bodies: list[Any]) -> list[str]:
    return [next(iter(each)) for each in bodies]


async def test_a_webhook_is_told_everything_in_order_with_its_token(
    push: Push, binding: str
) -> None:
    there, _ = await push.serve()
    proof = pb.AuthenticationInfo(scheme="Bearer", credentials="s3cret")
    async with webhook() as hook:
        configuration = inline(hook, token="t0ken", authentication=proof)
        wire = there.wire(binding)
        task = (await wire.call("SendMessage", text("chunks 5", configuration=configuration))).task
        bodies = await hook.until_over()
    assert kinds(bodies)[0] == "task"
    assert bodies[0]["task"]["id"] == task.id
    head = hook.heads[0]
    assert head["content-type"] == "application/a2a+json"
    assert head["x-a2a-notification-token"] == "t0ken"
    assert head["authorization"] == "Bearer s3cret"
    parsed = [pb.StreamResponse() for _ in bodies]
    for response, body in zip(parsed, bodies, strict=True):
        ParseDict(body, response)
    first = parsed[0].task
    streamed = "".join(
        each.parts[0].text for each in first.artifacts if each.artifact_id == "stream"
    )
    for each in parsed[1:]:
        if each.artifact_update.artifact.artifact_id == "stream":
            streamed += each.artifact_update.artifact.parts[0].text
    assert streamed == "0,1,2,3,4,"


async def test_a_slow_webhook_delays_no_other_and_not_the_task(push: Push) -> None:
    there, _ = await push.serve()
    wire = there.wire("JSONRPC")
    async with webhook() as slow, webhook() as fast:
        slow.open.clear()
        await wire.call("SendMessage", text("hello", configuration=inline(slow)))
        await wire.call("SendMessage", text("hello", configuration=inline(fast)))
        await fast.until_over()
        assert slow.bodies == []
        slow.open.set()
        await slow.until_over()


async def test_a_webhook_that_fails_is_tried_again_then_buried_and_redriven(push: Push) -> None:
    there, sender = await push.serve()
    async with webhook() as hook:
        hook.status = 503
        await there.wire("JSONRPC").call("SendMessage", text("hello", configuration=inline(hook)))
        await hook.until(3)
        async with asyncio.timeout(30):
            while not (dead := await sender.queue.dead()):
                await asyncio.sleep(0.01)
        assert [each.failures for each in dead] == [3]
        assert "503" in dead[0].buried
        assert "127.0.0.1" not in dead[0].buried
        hook.bodies.clear()
        hook.status = 200
        assert await sender.queue.redrive(dead[0].job_id)
        await hook.until_over()
        assert not await sender.queue.redrive(dead[0].job_id)


async def test_another_sender_goes_on_where_one_ended(push: Push) -> None:
    gate = asyncio.Event()

    async def waits(message: Message, ctx: Any) -> Any:
        await ctx.emit("begun,")
        await gate.wait()
        return "done"

    async with webhook() as hook:
        there, first = await push.serve(waits)
        await there.wire("JSONRPC").call("SendMessage", text("hello", configuration=inline(hook)))
        await hook.until(1)
        await first.stop()
        _, second = await push.serve(waits)
        await second.start(there.service.board)  # its service may have done so
        gate.set()
        await hook.until_over()


async def test_a_removed_webhook_is_told_nothing_more(push: Push) -> None:
    gate = asyncio.Event()

    async def waits(message: Message, ctx: Any) -> Any:
        await gate.wait()
        return "done"

    there, _ = await push.serve(waits)
    wire = there.wire("JSONRPC")
    async with webhook() as hook, webhook() as other:
        task = (
            await wire.call("SendMessage", text("x", configuration=inline(hook, id="one")))
        ).task
        await hook.until(1)
        second = pb.TaskPushNotificationConfig(task_id=task.id, url=other.url, id="two")
        await wire.call("CreateTaskPushNotificationConfig", second)
        await wire.call(
            "DeleteTaskPushNotificationConfig",
            pb.DeleteTaskPushNotificationConfigRequest(task_id=task.id, id="one"),
        )
        before = len(hook.bodies)
        gate.set()
        await other.until_over()
        assert len(hook.bodies) == before


@pytest.mark.parametrize(
    "url", ["https://169.254.169.254/x", "http://example.com/", "https://u:p@example.com/"]
)
async def test_a_webhook_that_is_not_allowed_is_refused(url: str) -> None:
    sender = PushSender()
    service = A2AService(flow(), agent_card=card(push_notifications=True), push_sender=sender)
    async with served(service) as there:
        wanted = {"task_push_notification_config": pb.TaskPushNotificationConfig(url=url)}
        with pytest.raises(Refused) as refused:
            await there.wire("JSONRPC").call("SendMessage", text("x", configuration=wanted))
        assert refused.value.reason == "INVALID_PARAMS"
