"""Connections that break in mid-stream, nodes that call over A2A, credentials, other servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from a2a.types import a2a_pb2 as pb
from google.protobuf.json_format import MessageToDict

from penguiflow import Headers, Message, NodePolicy, create
from penguiflow.remote import RemoteGuard, RemoteNode, RemoteTaskState
from penguiflow_a2a import A2AService, OutboundPolicy, OutboundRefused, Patience
from penguiflow_a2a.client.errors import AgentRefused, AgentUnreachable, UnknownTask
from penguiflow_a2a.orders import IDEMPOTENCY
from tests.integration.a2a.agents import flow
from tests.integration.a2a.conftest import Served, card, served
from tests.integration.a2a.test_calling import request, transport_for
from tests.support.proxy import FaultProxy


class Gate:
    """An agent that streams when it is told to."""

    def __init__(self) -> None:
        self.open = asyncio.Semaphore(0)
        self.cancelled = asyncio.Event()

    def agent(self) -> Any:
        async def work(message: Message, ctx: Any) -> Any:
            try:
                for number in range(message.payload):
                    await self.open.acquire()
                    await ctx.emit(f"{number},")
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return "done"

        return work


def service_of(agent: Any, **options: Any) -> A2AService:
    about = card(streaming=True)
    about.capabilities.extensions.append(pb.AgentExtension(uri=IDEMPOTENCY))
    return A2AService(agent, agent_card=about, **options)


@pytest.fixture
async def behind() -> AsyncIterator[Any]:
    """A service behind proxies that break connections."""
    async with AsyncExitStack() as stack:

        async def serve(agent: Any) -> tuple[Served, list[FaultProxy], dict[str, Any]]:
            found = await stack.enter_async_context(served(service_of(agent)))
            ports = [urlsplit(found.url).port, int(found.target.rpartition(":")[2])]
            proxies = [await stack.enter_async_context(FaultProxy(port or 0)) for port in ports]
            about = pb.AgentCard()
            about.CopyFrom(found.service.agent_card)
            for each in about.supported_interfaces:
                rpc = each.protocol_binding == "GRPC"
                each.url = (
                    f"127.0.0.1:{proxies[1].port}"
                    if rpc
                    else (f"http://127.0.0.1:{proxies[0].port}")
                )
            return found, proxies, MessageToDict(about)

        yield serve


async def test_a_stream_that_is_cut_goes_on_without_a_lost_or_repeated_chunk(
    behind: Any, binding: str
) -> None:
    gate = Gate()
    there, proxies, about = await behind(gate.agent())
    texts: list[str] = []
    async with transport_for(binding, patience=Patience(first_wait=0.01)) as transport:
        gate.open.release()
        async for event in transport.stream(request(there.url, 12, agent_card=about)):
            if event.text:
                assert event.meta is None
                texts.append(event.text)
                if len("".join(texts).split(",")) % 3 == 0:
                    for proxy in proxies:
                        proxy.cut()
                    gate.open.release()
                    gate.open.release()
                else:
                    gate.open.release()
            last = event
    assert "".join(texts) == "".join(f"{number}," for number in range(12))
    assert last.result == "done"


async def test_a_result_that_comes_while_the_line_is_down_is_found(
    behind: Any, binding: str
) -> None:
    gate = Gate()
    there, proxies, about = await behind(gate.agent())
    async with transport_for(binding, patience=Patience(first_wait=0.05)) as transport:
        events = transport.stream(request(there.url, 1, agent_card=about))
        named = await anext(events)
        for proxy in proxies:
            proxy.refuse()
            proxy.cut()
        gate.open.release()
        async with transport_for(binding, tenant="acme") as looking, asyncio.timeout(30):
            while True:  # by the way that is not broken
                found = await looking.get_task(agent_url=there.url, task_id=named.task_id)
                if found.is_terminal:
                    break
                await asyncio.sleep(0.01)
        for proxy in proxies:
            await proxy.accept()
        rest = [each async for each in events]
    assert "".join(each.text or "" for each in rest) == "0,"
    assert rest[-1].result == "done"


async def test_an_agent_that_is_not_there_is_unreachable(binding: str) -> None:
    about = {
        "name": "nobody",
        "capabilities": {"streaming": True},
        "supportedInterfaces": [
            {
                "url": "127.0.0.1:1" if binding == "GRPC" else "http://127.0.0.1:1",
                "protocolBinding": binding,
                "protocolVersion": "1.0",
            }
        ],
    }
    async with transport_for(binding) as transport:
        with pytest.raises(AgentUnreachable):
            await transport.send(request("http://127.0.0.1:1", "x", agent_card=about))


async def test_tasks_are_looked_at_listed_followed_and_cancelled(binding: str) -> None:
    gate = Gate()
    async with (
        served(service_of(gate.agent())) as there,
        transport_for(binding, tenant="acme") as transport,
    ):
        url = there.url
        task = await transport.send_task(request(url, 3))
        assert not task.is_terminal
        seen = []

        async def follow() -> None:
            async for event in transport.subscribe_task(agent_url=url, task_id=task.task_id):
                seen.append(event)
                gate.open.release()

        await asyncio.wait_for(follow(), 30)
        assert [seen[0].kind, seen[-1].kind] == ["task", "task"]
        assert "".join(each.text for each in seen if each.kind == "text") == "0,1,2,"
        assert seen[-1].done
        assert seen[-1].result == "done"
        other = await transport.send_task(request(url, 100))
        await transport.cancel(agent_url=url, task_id=other.task_id)
        await transport.cancel(agent_url=url, task_id=other.task_id)
        await asyncio.wait_for(gate.cancelled.wait(), 30)
        await transport.cancel(agent_url=url, task_id=task.task_id)  # over: left as it is
        await transport.cancel(agent_url=url, task_id="none")
        page = await transport.list_tasks(agent_url=url, page_size=1)
        assert (len(page.tasks), page.total_size) == (1, 2)
        rest = await transport.list_tasks(agent_url=url, page_token=page.next_page_token)
        states = {each.task_id: each.status.state for each in [*page.tasks, *rest.tasks]}
        assert states == {
            task.task_id: RemoteTaskState.COMPLETED,
            other.task_id: RemoteTaskState.CANCELLED,
        }
        with pytest.raises(UnknownTask):
            await transport.get_task(agent_url=url, task_id="none")


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_node_calls_an_a2a_agent_as_any_other(binding: str, streaming: bool) -> None:
    async with served(service_of(flow())) as there, transport_for(binding) as transport:
        node = RemoteNode(
            transport=transport,
            skill="act",
            agent_url=there.url,
            name="far",
            guard=RemoteGuard(allowed=[there.url]),
            streaming=streaming,
            policy=NodePolicy(validate="none"),
        )
        here = create(node.to())
        here.run()
        try:
            await here.emit(Message(payload="hello", headers=Headers(tenant="acme")))
            answer = await asyncio.wait_for(here.fetch(), 30)
            assert getattr(answer, "payload", answer) == "echo hello"
        finally:
            await here.stop()


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_cancelled_trace_stops_the_code_of_the_agent(binding: str, streaming: bool) -> None:
    gate = Gate()
    async with served(service_of(gate.agent())) as there, transport_for(binding) as transport:
        node = RemoteNode(
            transport=transport,
            skill="act",
            agent_url=there.url,
            name="far",
            guard=RemoteGuard(allowed=[there.url]),
            streaming=streaming,
            policy=NodePolicy(validate="none"),
        )
        here = create(node.to())
        here.run()
        try:
            message = Message(payload=100, headers=Headers(tenant="acme"))
            await here.emit(message)
            async with transport_for(binding, tenant="acme") as looking, asyncio.timeout(30):
                while not (await looking.list_tasks(agent_url=there.url)).tasks:
                    await asyncio.sleep(0.01)
            await here.cancel(message.trace_id)
            await asyncio.wait_for(gate.cancelled.wait(), 30)
        finally:
            await here.stop()


async def test_credentials_go_to_their_origin_only(binding: str) -> None:
    asked: list[tuple[str, str]] = []

    def credentials(tenant: str, origin: str) -> dict[str, str]:
        asked.append((tenant, origin))
        return {"authorization": f"Bearer {tenant}"}

    async with (
        served(service_of(flow())) as there,
        transport_for(binding, credentials=credentials) as transport,
    ):
        await transport.send(request(there.url, "hello"))
    place = f"grpc://{there.target}" if binding == "GRPC" else there.url
    assert asked == [("default", there.url), ("acme", place)]


async def test_private_addresses_are_refused_unless_they_are_allowed(binding: str) -> None:
    async with transport_for(binding, policy=OutboundPolicy()) as transport:
        for url in ("https://127.0.0.1", "https://169.254.169.254/x", "http://example.com"):
            with pytest.raises(OutboundRefused):
                await transport.send(request(url, "x"))


async def test_a_card_must_not_send_its_callers_elsewhere(binding: str) -> None:
    about = {
        "name": "liar",
        "supportedInterfaces": [
            {"url": "https://8.8.8.8", "protocolBinding": binding, "protocolVersion": "1.0"}
        ],
    }
    async with transport_for(binding) as transport:
        with pytest.raises(OutboundRefused, match="another host"):
            await transport.send(request("https://1.1.1.1", "x", agent_card=about))


async def test_what_the_agent_refuses_is_not_tried_again(binding: str) -> None:
    async with served(service_of(flow())) as there, transport_for(binding) as transport:
        with pytest.raises(AgentRefused) as refused:
            await transport.send(request(there.url, b"bytes"))
        assert refused.value.reason == "ContentTypeNotSupported"
        done = await transport.send(request(there.url, "hello"))
        with pytest.raises(AgentRefused):
            await transport.send(request(there.url, "more", task_id=done.task_id))
        with pytest.raises(UnknownTask):
            await transport.send(request(there.url, "more", task_id="none"))


async def test_a_try_after_a_failure_is_another_task(binding: str) -> None:
    tries = 0

    async def once(message: Message, ctx: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            msg = "not yet"
            raise ValueError(msg)
        return tries

    async with served(service_of(once)) as there:
        async with transport_for(binding) as transport:
            with pytest.raises(RuntimeError):
                await transport.send(request(there.url, "x", idempotency_key="k"))
        async with transport_for(binding) as transport:  # which knows nothing of the first
            answer = await transport.send(request(there.url, "x", idempotency_key="k"))
        assert answer.result == 2
