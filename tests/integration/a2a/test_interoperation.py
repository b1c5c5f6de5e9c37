"""Our transports against the SDK's own server, and the SDK's client against ours."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import grpc
import httpx
import pytest
import uvicorn
from a2a.client import ClientConfig, ClientFactory
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.request_handlers.grpc_handler import GrpcHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import a2a_pb2 as pb
from a2a.types.a2a_pb2_grpc import add_A2AServiceServicer_to_server
from starlette.applications import Starlette

from penguiflow.remote import RemoteTaskFailed, RemoteTaskInputRequired, RemoteTaskState
from penguiflow_a2a import A2AService
from tests.integration.a2a.agents import flow
from tests.integration.a2a.conftest import card, served
from tests.integration.a2a.test_calling import request, transport_for
from tests.integration.a2a.wire import text


class Theirs(AgentExecutor):  # type: ignore[misc]
    """An agent as the SDK's users write it."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.message is not None
        if context.current_task is None:
            task = pb.Task(
                id=context.task_id,
                context_id=context.context_id,
                status=pb.TaskStatus(state=pb.TASK_STATE_SUBMITTED),
                history=[context.message],
            )
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        await updater.start_work()
        match context.get_user_input():
            case "fail":
                await updater.failed(updater.new_agent_message([pb.Part(text="it broke")]))
            case "ask":
                await updater.requires_input(updater.new_agent_message([pb.Part(text="which?")]))
            case "wait":
                await asyncio.sleep(60)
            case "chunks":
                for number in range(4):
                    await updater.add_artifact(
                        [pb.Part(text=f"{number},")],
                        artifact_id="a",
                        append=number > 0,
                        last_chunk=number == 3,
                    )
                await updater.complete()
            case other:
                await updater.add_artifact([pb.Part(text=f"theirs {other}")], artifact_id="a")
                await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


@contextlib.asynccontextmanager
async def theirs(*, version: str = "1.0") -> AsyncIterator[str]:
    """The SDK's default server, by all bindings."""
    about = card(streaming=True)
    handler = DefaultRequestHandler(
        agent_executor=Theirs(), task_store=InMemoryTaskStore(), agent_card=about
    )
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    rpc = grpc.aio.server()
    add_A2AServiceServicer_to_server(GrpcHandler(handler), rpc)
    port = rpc.add_insecure_port("127.0.0.1:0")
    for each in about.supported_interfaces:
        each.url = f"127.0.0.1:{port}" if each.protocol_binding == "GRPC" else url
        each.protocol_version = version
        if each.protocol_binding == "JSONRPC":
            each.url += "/rpc"
    legacy = version == "0.3"
    routes = [
        *create_agent_card_routes(about),
        *create_jsonrpc_routes(handler, "/rpc", enable_v0_3_compat=legacy),
        *create_rest_routes(handler, enable_v0_3_compat=legacy),
    ]
    config = uvicorn.Config(
        Starlette(routes=routes), log_level="warning", timeout_graceful_shutdown=1
    )
    http = uvicorn.Server(config)
    await rpc.start()
    serving = asyncio.create_task(http.serve(sockets=[listener]))
    while not http.started:
        await asyncio.sleep(0.005)
    try:
        yield url
    finally:
        await rpc.stop(0)
        http.should_exit = True
        await serving
        listener.close()


async def test_their_server_answers_our_calls(binding: str) -> None:
    async with theirs() as url, transport_for(binding) as transport:
        answer = await transport.send(request(url, "hello"))
        assert answer.result == "theirs hello"
        events = [each async for each in transport.stream(request(url, "chunks"))]
        assert "".join(each.text or "" for each in events) == "0,1,2,3,"
        assert events[-1].result == "0,1,2,3,"
        with pytest.raises(RemoteTaskFailed, match="it broke"):
            await transport.send(request(url, "fail"))
        with pytest.raises(RemoteTaskInputRequired) as asked:
            await transport.send(request(url, "ask"))
        snapshot = asked.value.snapshot
        assert snapshot.status.message == "which?"
        answer = await transport.send(
            request(url, "that", task_id=snapshot.task_id, context_id=snapshot.context_id)
        )
        assert (answer.result, answer.task_id) == ("theirs that", snapshot.task_id)


async def test_their_server_is_told_of_cancels(binding: str) -> None:
    async with theirs() as url, transport_for(binding) as transport:
        task = await transport.send_task(request(url, "wait"))
        await transport.cancel(agent_url=url, task_id=task.task_id)
        found = await transport.get_task(agent_url=url, task_id=task.task_id)
        assert found.status.state is RemoteTaskState.CANCELLED
        page = await transport.list_tasks(agent_url=url)
        assert [each.task_id for each in page.tasks] == [task.task_id]


@pytest.mark.parametrize("legacy", ["JSONRPC", "HTTP+JSON"])
async def test_an_agent_of_version_0_3_answers_when_it_is_allowed(legacy: str) -> None:
    async with theirs(version="0.3") as url:
        async with transport_for(legacy) as strict:
            with pytest.raises(RuntimeError, match=r"1\.x"):
                await strict.send(request(url, "hello"))
        async with transport_for(legacy, legacy=True) as transport:
            answer = await transport.send(request(url, "hello"))
            assert answer.result == "theirs hello"
            events = [each async for each in transport.stream(request(url, "chunks"))]
            assert "".join(each.text or "" for each in events) == "0,1,2,3,"


async def test_their_client_is_answered_by_our_service(binding: str) -> None:
    service = A2AService(flow(), agent_card=card(streaming=True))
    async with served(service) as there, httpx.AsyncClient(timeout=30.0) as http:
        config = ClientConfig(
            httpx_client=http,
            grpc_channel_factory=grpc.aio.insecure_channel,
            supported_protocol_bindings=[binding],
        )
        client = ClientFactory(config).create(service.agent_card)
        events = [each async for each in client.send_message(text("chunks 3"))]
        updates = [each.artifact_update for each in events if each.HasField("artifact_update")]
        assert [each.artifact.parts[0].text for each in updates] == ["0,", "1,", "2,", "done"]
        task_id = events[0].task.id
        found = await client.get_task(pb.GetTaskRequest(id=task_id))
        assert found.status.state == pb.TASK_STATE_COMPLETED
        listed = await client.list_tasks(pb.ListTasksRequest())
        assert [each.id for each in listed.tasks] == [task_id]
        assert there.url
        await client.close()
