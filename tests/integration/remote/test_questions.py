"""Agents that ask their caller: input and credentials, faults, and who may answer."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from penguiflow import FlowError, NodePolicy, create
from penguiflow.remote import (
    RemoteCallRequest,
    RemoteNode,
    RemoteTaskAuthRequired,
    RemoteTaskFailed,
    RemoteTaskInputRequired,
    RemoteTaskState,
)
from penguiflow_nats.agent import AgentOptions, AuthRequired, Result, Skill, serve
from penguiflow_nats.call_errors import NotAsked
from penguiflow_nats.discovering import DiscoveringTransport
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.transport import CancelOutcome, NatsTransport
from tests.integration.remote.calls import AGENT, eventually, message, request
from tests.integration.remote.conftest import StartReplica


async def transfer(message, ctx):
    yield "looking"
    account = await ctx.ask("which account?")
    yield f"from {account}"
    amount = await ctx.ask({"how": "much"})
    yield Result({"account": account, "amount": amount, "epoch": ctx.epoch})


async def guarded(message, ctx):
    if not ctx.credentials:
        raise AuthRequired("a token for the bank")
    name = await ctx.ask("name?")
    return [ctx.credentials[-1], name]


SKILLS = [Skill("transfer", transfer), Skill("guarded", guarded)]


def serving(server: EmbeddedServer, **options):
    chosen = AgentOptions(**{"lease": 1.0, "concurrency": 2, **options})
    return serve(None, server.url, agent="tester", skills=SKILLS, options=chosen)


async def streamed(transport: NatsTransport, call: RemoteCallRequest) -> tuple[list, Any]:
    """The texts until the agent asks, and what it asks."""
    texts: list = []
    try:
        async for event in transport.stream(call):
            texts += [event.text] if event.text else []
    except RemoteTaskInputRequired as paused:
        return texts, paused.snapshot
    raise AssertionError


def ask(skill: str, payload: object, task: str = "t"):
    return request(skill, payload, task_id=task, timeout_s=8)


async def test_a_task_asks_and_is_answered(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    original = ask("transfer", "move")
    async with serving(server):
        texts, snapshot = await streamed(transport, original)
        assert texts == ["looking"]
        assert snapshot.task_id == "t"
        assert snapshot.status.state is RemoteTaskState.INPUT_REQUIRED
        assert snapshot.status.message == "which account?"
        with pytest.raises(RemoteTaskInputRequired):  # the same again is no answer
            await transport.send(original)
        savings = ask("transfer", "savings")
        for _ in range(2):  # the same answer again is none to the next question
            texts, snapshot = await streamed(transport, savings)
            assert texts == ["from savings"]  # and begins behind the question
            assert snapshot.status.message == {"how": "much"}
        answer = ask("transfer", 12)
        events = [event async for event in transport.stream(answer)]
        assert events[-1].result == {"account": "savings", "amount": 12, "epoch": 1}
        assert (await transport.send(answer)).result == events[-1].result
        seen = await transport.get_task(agent_url=AGENT, task_id="t", history_length=9)
    said = [getattr(each, "payload", each) for each in seen.history]
    assert said == ["move", "which account?", "savings", {"how": "much"}, 12]


async def test_credentials_are_asked_for_and_kept(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async with serving(server):
        with pytest.raises(RemoteTaskAuthRequired) as paused:
            await transport.send(ask("guarded", None))
        assert paused.value.snapshot.status.state is RemoteTaskState.AUTH_REQUIRED
        assert paused.value.snapshot.status.message == "a token for the bank"
        asked = await transport.send_task(ask("guarded", "token"), blocking=True)
        assert asked.status.state is RemoteTaskState.INPUT_REQUIRED
        assert (await transport.send(ask("guarded", "Ada"))).result == ["token", "Ada"]


async def test_answers_outlive_the_replica(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async with serving(server) as replica:
        with pytest.raises(RemoteTaskInputRequired):
            await transport.send(ask("transfer", "move"))
        with pytest.raises(RemoteTaskInputRequired):
            await transport.send(ask("transfer", "savings"))
        assert replica.in_work == 1
    async with serving(server):  # it starts the task anew
        result = (await transport.send(ask("transfer", 3))).result
    assert result == {"account": "savings", "amount": 3, "epoch": 2}


async def test_an_answer_to_an_agent_that_is_away_is_kept(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async with serving(server):
        with pytest.raises(RemoteTaskAuthRequired):
            await transport.send(ask("guarded", None))
    sent = await transport.send_task(ask("guarded", "token"))
    assert sent.status.state is RemoteTaskState.WORKING
    async with serving(server):
        asked = await transport.send_task(ask("guarded", "token2", "u"), blocking=True)
        assert asked.status.state is RemoteTaskState.AUTH_REQUIRED

        async def asks() -> bool:
            task = await transport.get_task(agent_url=AGENT, task_id="t")
            return task.status.state is RemoteTaskState.INPUT_REQUIRED

        await eventually(asks)
        assert (await transport.send(ask("guarded", "Ada"))).result == ["token", "Ada"]


async def test_waiting_tasks_take_no_room(server: EmbeddedServer, transport: NatsTransport) -> None:
    async with serving(server, concurrency=1):
        for number in range(4):
            with pytest.raises(RemoteTaskInputRequired):
                await transport.send(ask("transfer", "move", f"t{number}"))
        for number in range(4):
            with pytest.raises(RemoteTaskInputRequired):
                await transport.send(ask("transfer", "a", f"t{number}"))
            assert (await transport.send(ask("transfer", number, f"t{number}"))).result[
                "amount"
            ] == (number)
        with pytest.raises(RemoteTaskInputRequired):
            await transport.send(ask("transfer", "move", "last"))


async def test_nobody_answers(server: EmbeddedServer, transport: NatsTransport) -> None:
    async with serving(server, answer_wait=0.2):
        with pytest.raises(RemoteTaskInputRequired):
            await transport.send(ask("transfer", "move"))

        async def failed() -> bool:
            task = await transport.get_task(agent_url=AGENT, task_id="t")
            return task.meta is not None and task.meta.get("code") == "NOT_ANSWERED"

        await eventually(failed)
        with pytest.raises(RemoteTaskFailed, match="NOT_ANSWERED"):
            await transport.send(ask("transfer", "late"))


async def test_a_waiting_task_is_cancelled(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async with serving(server) as replica:
        with pytest.raises(RemoteTaskInputRequired):
            await transport.send(ask("transfer", "move"))
        outcome = await transport.cancel_task(agent_url=AGENT, task_id="t")
        assert outcome is CancelOutcome.CANCELLED
        await eventually(lambda: replica.in_work == 0)


async def test_one_of_two_answers_counts(server: EmbeddedServer, transport: NatsTransport) -> None:
    async def once(message, ctx):
        answer = await ctx.ask("?")
        await asyncio.sleep(0.3)
        return answer

    async with serve(once, server.url, agent="tester"):
        with pytest.raises(RemoteTaskInputRequired):
            await transport.send(ask("once", "begin"))
        answers = await asyncio.gather(
            transport.send(ask("once", "one")),
            transport.send(ask("once", "two")),
            return_exceptions=True,
        )
    (refused,) = [each for each in answers if isinstance(each, NotAsked)]
    assert "others" in str(refused)
    (answered,) = [each.result for each in answers if not isinstance(each, BaseException)]
    assert answered in ("one", "two")


async def test_a_plain_call_cannot_be_asked(server: EmbeddedServer) -> None:
    async with serving(server), NatsTransport(server.url, durable=False) as plain:
        for skill in ("transfer", "guarded"):
            with pytest.raises(RemoteTaskFailed, match="NOT_DURABLE"):
                await plain.send(request(skill, None, timeout_s=8))


async def test_a_subscriber_sees_questions_and_answers(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    states: list[str] = []

    async def follow() -> None:
        nonlocal states
        async with aclosing(transport.subscribe_task(agent_url=AGENT, task_id="t")) as events:
            async for event in events:
                states += [str(event.status.state)] if event.status else []

    await transport.send_task(ask("guarded", None))
    following = asyncio.ensure_future(follow())
    await eventually(lambda: states)
    async with serving(server), asyncio.timeout(9):
        for _ in range(2):
            asked = ask("guarded", "x")
            await transport.send_task(asked, blocking=True)
        await transport.send(ask("guarded", "y"))
        await following
    work = [state for state in states if state != "submitted"]
    assert work == [
        "working",
        "auth-required",
        "working",
        "input-required",
        "working",
        "completed",
    ]


async def test_a_remote_node_raises_what_is_asked_and_answers_it(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    node = RemoteNode(
        transport=transport,
        skill="guarded",
        agent_url=AGENT,
        name="remote",
        policy=NodePolicy(validate="none", max_retries=0),
    )
    flow = create(node.to(), emit_errors_to_rookery=True)
    flow.run()
    async with serving(server), asyncio.timeout(9):
        await flow.emit(message(None))
        paused = await flow.fetch()
        assert isinstance(paused, FlowError)
        error = paused.unwrap()
        assert isinstance(error, RemoteTaskAuthRequired)
        task = error.snapshot.task_id
        await flow.emit(message("token", meta={"remote_task_id": task}))
        paused = await flow.fetch()
        assert isinstance(paused.unwrap(), RemoteTaskInputRequired)
        await flow.emit(message("Ada", meta={"remote_task_id": task}))
        assert await flow.fetch() == ["token", "Ada"]
        await flow.stop()


# ---- faults --------------------------------------------------------------------------------------


async def asked(transport: NatsTransport, payload: object) -> dict[str, int]:
    """Send, and give what the agent asks then."""
    snapshot = await transport.send_task(ask("confirm", payload), blocking=True)
    assert snapshot.status.state is RemoteTaskState.INPUT_REQUIRED
    return snapshot.status.message


async def test_a_killed_replica_is_replaced_and_no_answer_is_asked_for_twice(
    transport: NatsTransport, start_replica: StartReplica
) -> None:
    started = await asyncio.gather(start_replica(), start_replica())
    replicas = {replica.pid: replica for replica in started}
    first = await asked(transport, "begin")
    second = await asked(transport, "one")
    assert first == second
    replicas.pop(second["worker"]).kill()
    (left,) = replicas

    async def asks_again() -> bool:
        task = await transport.get_task(agent_url=AGENT, task_id="t")
        return task.status.message == {"worker": left, "epoch": 2}

    await eventually(asks_again)
    assert (await transport.send(ask("confirm", "two"))).result == ["one", "two", 2]


async def test_an_answer_to_a_replica_that_was_just_killed_counts(
    transport: NatsTransport, start_replica: StartReplica
) -> None:
    started = await asyncio.gather(start_replica(), start_replica())
    replicas = {replica.pid: replica for replica in started}
    replicas.pop((await asked(transport, "begin"))["worker"]).kill()
    (left,) = replicas
    assert await asked(transport, "one") == {"worker": left, "epoch": 2}
    assert (await transport.send(ask("confirm", "two"))).result == ["one", "two", 2]


async def test_a_server_that_restarts_while_a_task_waits(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async with serving(server):
        with pytest.raises(RemoteTaskAuthRequired):
            await transport.send(ask("guarded", None))
        await server.kill()
        await server.start()
        with pytest.raises(RemoteTaskInputRequired):
            await transport.send(ask("guarded", "token"))
        assert (await transport.send(ask("guarded", "Ada"))).result == ["token", "Ada"]


async def test_time_stands_still_while_a_task_waits(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async with serving(server):
        with pytest.raises(RemoteTaskAuthRequired):
            await transport.send(request("guarded", None, task_id="t", timeout_s=1.0))
        await asyncio.sleep(1.2)
        with pytest.raises(RemoteTaskInputRequired):
            await transport.send(ask("guarded", "token"))
        assert (await transport.send(ask("guarded", "Ada"))).result == ["token", "Ada"]


async def test_an_answer_brings_its_own_time(
    server: EmbeddedServer, transport: NatsTransport
) -> None:
    async def dawdle(message, ctx):
        await ctx.ask("?")
        assert ctx.remaining() is not None
        await asyncio.sleep(60)

    async with serve(dawdle, server.url, agent="tester") as replica:
        with pytest.raises(RemoteTaskInputRequired):
            await transport.send(request("dawdle", None, task_id="t"))
        with pytest.raises((RemoteTaskFailed, TimeoutError)):
            await transport.send(request("dawdle", "!", task_id="t", timeout_s=0.3))
        await eventually(lambda: replica.in_work == 0)
        task = await transport.get_task(agent_url=AGENT, task_id="t")
    assert task.meta is not None
    assert task.meta["code"] == "DEADLINE_EXCEEDED"


async def test_an_agent_found_by_its_skill_has_tasks_too(server: EmbeddedServer) -> None:
    address = "nats://?skill=guarded"
    async with serving(server), DiscoveringTransport(server.url) as transport:
        call = ask("guarded", None)
        call.agent_url = address
        paused = await transport.send_task(call, blocking=True)
        assert paused.agent_url == AGENT
        (listed,) = (await transport.list_tasks(agent_url=address)).tasks
        assert listed.status.state is RemoteTaskState.AUTH_REQUIRED
        assert (await transport.get_task(agent_url=address, task_id="t")).task_id == "t"
