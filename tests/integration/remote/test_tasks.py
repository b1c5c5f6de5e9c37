"""The task methods of the transport, against a real server."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from penguiflow.remote import (
    RemoteTaskEvent,
    RemoteTaskState,
    SupportsRemoteTasks,
)
from penguiflow_nats.agent import Result, Skill, serve
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import NatsTransport
from tests.integration.remote.calls import AGENT, request


async def echo(message, ctx):
    return {"said": message.payload}


async def fail(message, ctx):
    raise ValueError("no")


async def slow(message, ctx):
    for number in range(message.payload):
        yield str(number)
        await asyncio.sleep(0.005)
    yield Result(message.payload)


SKILLS = [Skill("echo", echo), Skill("fail", fail), Skill("slow", slow)]


def serving(server: EmbeddedServer):
    return serve(None, server.url, agent="tester", skills=SKILLS, lease=1.0)


def test_the_transport_supports_tasks() -> None:
    assert isinstance(NatsTransport(), SupportsRemoteTasks)


async def test_a_task_is_sent_and_looked_at(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    sent = await transport.send_task(request("echo", "hello", task_id="t", context_id="c"))
    assert (sent.task_id, sent.context_id) == ("t", "c")
    assert sent.status.state is RemoteTaskState.SUBMITTED
    assert not sent.is_terminal
    async with serving(server):
        again = request("echo", "hello", task_id="t", timeout_s=8)
        ended = await transport.send_task(again, blocking=True)
        assert ended.status.state is RemoteTaskState.COMPLETED
        assert ended.result == {"said": "hello"}
        seen = await transport.get_task(agent_url=AGENT, task_id="t", history_length=5)
    assert seen.result == {"said": "hello"}
    assert seen.context_id == "c"
    assert seen.agent_url == AGENT
    assert seen.status.timestamp
    assert [each.payload for each in seen.history] == ["hello"]


async def test_a_blocking_task_that_fails_says_so_in_its_snapshot(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async with serving(server):
        ended = await transport.send_task(request("fail", None, timeout_s=8), blocking=True)
    assert ended.status.state is RemoteTaskState.FAILED
    assert ended.status.message == "ValueError: no"
    assert ended.meta is not None
    assert ended.meta["code"] == "HANDLER_EXCEPTION"


async def test_an_unknown_task_and_one_of_another_agent_are_unknown(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    await transport.send_task(request("echo", 1, task_id="t"))
    for agent, task in ((AGENT, "other"), ("nats://another", "t")):
        with pytest.raises(KeyError):
            await transport.get_task(agent_url=agent, task_id=task)
        with pytest.raises(KeyError):
            await anext(transport.subscribe_task(agent_url=agent, task_id=task))


async def test_tasks_are_listed_page_by_page_and_filtered(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    for number in range(5):
        context = "even" if number % 2 == 0 else "odd"
        await transport.send_task(request("echo", number, task_id=f"t{number}", context_id=context))
    first = await transport.list_tasks(agent_url=AGENT, page_size=2)
    await transport.cancel(agent_url=AGENT, task_id="t0")  # takes it out of the list
    await transport.send_task(request("fail", 5, task_id="t5"))
    second = await transport.list_tasks(
        agent_url=AGENT, page_size=2, page_token=first.next_page_token
    )
    third = await transport.list_tasks(
        agent_url=AGENT, page_size=2, page_token=second.next_page_token
    )
    pages = [first, second, third]
    assert [[task.task_id for task in page.tasks] for page in pages] == [
        ["t0", "t1"],
        ["t2", "t3"],
        ["t4", "t5"],
    ]
    assert third.next_page_token == ""
    even = await transport.list_tasks(agent_url=AGENT, context_id="even", history_length=1)
    assert [task.task_id for task in even.tasks] == ["t2", "t4"]
    assert [task.history[0].payload for task in even.tasks] == [2, 4]
    async with serving(server):
        for number in range(1, 6):
            await transport.send_task(
                request("echo", number, task_id=f"t{number}", timeout_s=8), blocking=True
            )
    failed = await transport.list_tasks(agent_url=AGENT, status=RemoteTaskState.FAILED)
    assert [task.task_id for task in failed.tasks] == ["t5"]
    done = await transport.list_tasks(
        agent_url=AGENT, status=RemoteTaskState.COMPLETED, include_artifacts=True
    )
    assert [task.result["said"] for task in done.tasks] == [1, 2, 3, 4]
    assert (await transport.list_tasks(agent_url="nats://another")).tasks == []


@pytest.mark.parametrize("options", [{"page_size": 0}, {"page_token": "x"}, {"page_size": 9999}])
async def test_a_page_that_is_none_is_refused(transport: NatsTransport, options: dict) -> None:
    with pytest.raises(ValueError):
        await transport.list_tasks(agent_url=AGENT, **options)


async def test_a_subscriber_gets_the_task_then_each_event_once_even_after_a_restart(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    await transport.send_task(request("slow", 150, task_id="t"))
    events: list[RemoteTaskEvent] = []
    restarting = None
    async with serving(server), asyncio.timeout(20):
        stream = transport.subscribe_task(agent_url=AGENT, task_id="t")
        async with aclosing(stream):
            async for event in stream:
                events.append(event)
                if len(events) == 40:
                    restarting = asyncio.ensure_future(restart(server))
    assert restarting is not None
    await restarting
    assert events[0].kind == "task"
    assert events[0].status is not None
    assert events[0].status.state in (RemoteTaskState.SUBMITTED, RemoteTaskState.WORKING)
    at = max(i for i, event in enumerate(events) if event.kind != "text" and i < len(events) - 1)
    texts = [event.text for event in events[at:] if event.kind == "text"]
    assert texts == [str(n) for n in range(150 - len(texts), 150)]
    assert events[-1].done
    assert events[-1].task is not None
    assert events[-1].task.result == 150


async def restart(server: EmbeddedServer) -> None:
    await server.kill()
    await asyncio.sleep(0.2)
    await server.start()


async def test_a_late_subscriber_gets_only_what_comes_later(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async with serving(server), asyncio.timeout(9):
        async with aclosing(transport.stream(request("slow", 100, task_id="t"))) as stream:
            async for event in stream:
                if event.text == "30":
                    break
        followed = transport.subscribe_task(agent_url=AGENT, task_id="t")
        events = [event async for event in followed]
        texts = [int(event.text or 0) for event in events if event.kind == "text"]
        ended = transport.subscribe_task(agent_url=AGENT, task_id="t")
        (only,) = [event async for event in ended]
    assert texts[0] > 30
    assert texts == list(range(texts[0], 100))
    assert only.done
    assert only.result == 100


async def test_push_notifications_are_refused(transport: NatsTransport) -> None:
    where = {"agent_url": AGENT, "task_id": "t"}
    with pytest.raises(NotImplementedError, match="subscribe_task"):
        await transport.set_task_push_notification_config(config_id="c", config={}, **where)
    with pytest.raises(KeyError):
        await transport.get_task_push_notification_config(config_id="c", **where)
    with pytest.raises(KeyError):
        await transport.delete_task_push_notification_config(config_id="c", **where)
    assert await transport.list_task_push_notification_configs(**where) == []
