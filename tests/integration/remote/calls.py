"""What the tests of calls have in common."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from penguiflow.remote import RemoteCallRequest
from penguiflow.types import Headers, Message
from penguiflow_nats.call_subjects import CallNames
from penguiflow_nats.connection import Connection
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.server import EmbeddedServer
from penguiflow_nats.settings import ConnectionSettings

AGENT = "nats://tester"


def message(payload: Any, **fields: Any) -> Message:
    return Message(payload=payload, headers=Headers(tenant="default"), **fields)


def request(skill: str, payload: Any, **fields: Any) -> RemoteCallRequest:
    return RemoteCallRequest(message=message(payload), skill=skill, agent_url=AGENT, **fields)


async def messages(server: EmbeddedServer) -> int:
    """What the streams of calls hold."""
    names = CallNames("default")
    async with await Connection.open(ConnectionSettings(servers=(server.url,))) as connection:
        jetstream = JetStream(connection)
        infos = [
            await jetstream.stream_info(name) for name in (names.calls_stream, names.replies_stream)
        ]
    return sum(info.state.messages for info in infos)


async def eventually(condition: Callable[[], Any], timeout: float = 8.0) -> None:
    """Wait until the condition, a function or an async one, holds."""
    async with asyncio.timeout(timeout):
        while True:
            found = condition()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(0.02)
