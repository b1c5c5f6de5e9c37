"""Our transports against our service: calls, streams, cancels, questions, over all bindings."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from a2a.types import a2a_pb2 as pb

from penguiflow import Headers, Message
from penguiflow.remote import (
    RemoteCallRequest,
    RemoteTaskAuthRequired,
    RemoteTaskFailed,
    RemoteTaskInputRequired,
    RemoteTaskState,
    RemoteTransport,
    SupportsRemoteTasks,
)
from penguiflow_a2a import A2AGrpcTransport, A2AHttpTransport, A2AService, OutboundPolicy
from penguiflow_a2a.client.mapping import RemoteTaskRejected
from penguiflow_a2a.orders import IDEMPOTENCY
from tests.integration.a2a.agents import flow
from tests.integration.a2a.conftest import Outbox, Served, card, served

LOCAL = OutboundPolicy(allow_private=True)


def transport_for(binding: str, **options: Any) -> Any:
    options.setdefault("policy", LOCAL)
    options.setdefault("timeout_s", 30.0)
    if binding == "GRPC":
        return A2AGrpcTransport(**options)
    return A2AHttpTransport(bindings=[binding], **options)


def request(url: str, payload: Any, **fields: Any) -> RemoteCallRequest:
    message = Message(payload=payload, headers=Headers(tenant="acme"))
    fields.setdefault("tenant", "acme")
    return RemoteCallRequest(message=message, skill="act", agent_url=url, **fields)


@pytest.fixture
async def agent() -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:

        async def serve(agent: Any = None, **capabilities: Any) -> Served:
            capabilities.setdefault("streaming", True)
            options = {"push_sender": Outbox()} if capabilities.get("push_notifications") else {}
            about = card(**capabilities)
            about.capabilities.extensions.append(pb.AgentExtension(uri=IDEMPOTENCY))
            service = A2AService(agent or flow(), agent_card=about, **options)
            return await stack.enter_async_context(served(service))

        yield serve


@pytest.fixture
async def transport(binding: str) -> AsyncIterator[Any]:
    async with transport_for(binding) as found:
        yield found


async def test_a_transport_is_both_protocols(transport: Any) -> None:
    assert isinstance(transport, RemoteTransport)
    assert isinstance(transport, SupportsRemoteTasks)


@pytest.mark.parametrize("streaming", [True, False])
async def test_results_come_back_whatever_their_type(
    agent: Any, transport: Any, streaming: bool
) -> None:
    there = await agent(streaming=streaming)
    for payload, result in (
        ("hello", "echo hello"),
        ("number", 42),
        ("list", [1, "two", None]),
        ("none", None),
        ("bare", "hello"),
        ({"a": [1, 2.5, None]}, {"a": [1, 2.5, None]}),
        ("tenant", "acme"),
    ):
        answer = await transport.send(request(there.url, payload))
        assert answer.result == result, payload
        assert answer.agent_url == there.url


@pytest.mark.parametrize("streaming", [True, False])
async def test_chunks_come_as_texts_and_the_result_last(
    agent: Any, transport: Any, streaming: bool
) -> None:
    there = await agent(streaming=streaming)
    events = [each async for each in transport.stream(request(there.url, "chunks 5"))]
    assert events[0].task_id
    assert "".join(each.text for each in events if each.text) == "0,1,2,3,4,"
    assert events[-1].result == "done"
    assert {each.task_id for each in events} == {events[0].task_id}


@pytest.mark.parametrize(
    ("word", "kind", "state"),
    [
        ("fail", RemoteTaskFailed, RemoteTaskState.FAILED),
        ("reject", RemoteTaskRejected, RemoteTaskState.REJECTED),
        ("ask", RemoteTaskInputRequired, RemoteTaskState.INPUT_REQUIRED),
        ("auth", RemoteTaskAuthRequired, RemoteTaskState.AUTH_REQUIRED),
    ],
)
@pytest.mark.parametrize("streaming", [True, False])
async def test_an_end_without_a_result_is_raised(
    agent: Any, transport: Any, word: str, kind: type[Any], state: RemoteTaskState, streaming: bool
) -> None:
    there = await agent(streaming=streaming)
    with pytest.raises(kind) as raised:
        await transport.send(request(there.url, word))
    assert raised.value.snapshot.status.state is state
    assert isinstance(raised.value, RuntimeError)


async def test_a_question_is_answered_by_a_call_with_its_task_id(
    agent: Any, transport: Any
) -> None:
    there = await agent()
    with pytest.raises(RemoteTaskInputRequired) as asked:
        await transport.send(request(there.url, "ask"))
    snapshot = asked.value.snapshot
    assert snapshot.status.message == "which one?"
    answer = await transport.send(
        request(there.url, "that", task_id=snapshot.task_id, context_id=snapshot.context_id)
    )
    assert answer.result["got"] == "that"
    assert answer.task_id == snapshot.task_id


async def until_cancelled(transport: Any, url: str, task_id: str) -> None:
    async with asyncio.timeout(30):
        while True:
            found = await transport.get_task(agent_url=url, task_id=task_id)
            if found.status.state is RemoteTaskState.CANCELLED:
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_call_that_is_given_up_cancels_its_task(
    agent: Any, transport: Any, streaming: bool
) -> None:
    there = await agent(streaming=streaming)
    with pytest.raises(TimeoutError):
        await transport.send(request(there.url, "sleep 60", timeout_s=1.0))
    call = asyncio.ensure_future(transport.send(request(there.url, "sleep 61")))
    await asyncio.sleep(0.01)  # it may be anywhere on its way
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    # The tenant of the calls is not the transport's own.
    acme = transport_for(transport.agents._bindings[0], tenant="acme")
    async with acme:
        async with asyncio.timeout(30):
            while True:
                tasks = (await acme.list_tasks(agent_url=there.url)).tasks
                states = {each.status.state for each in tasks}
                if len(tasks) == 2 and RemoteTaskState.WORKING not in states:
                    break
                await asyncio.sleep(0.01)
        assert RemoteTaskState.CANCELLED in states
