"""The far side of `benchmarks/a2a.py`, in a process of its own: a server on a port.

python -m benchmarks.a2a_far <which> <port> [<nats server>]

    ours      the service over a board on NATS, a worker in the same process
    replica   the same without a worker
    memory    the service over the board in memory
    sdk       the SDK's default handler over its memory store
    sql       the SDK's default handler over its SQL cluster store, in a SQLite file

The agent answers "stream N" with N chunks of 64 bytes and anything else with the text.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import uvicorn
from a2a.types import a2a_pb2 as pb

TEXT = "x" * 64


def card(port: int) -> pb.AgentCard:
    return pb.AgentCard(
        name="bench",
        description="Answers.",
        version="1.0.0",
        supported_interfaces=[
            pb.AgentInterface(
                url=f"http://127.0.0.1:{port}/", protocol_binding="JSONRPC", protocol_version="1.0"
            )
        ],
        capabilities=pb.AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[pb.AgentSkill(id="answer", name="answer", description="Answers.", tags=["x"])],
    )


async def answer(message: Any, ctx: Any) -> str:
    text = str(message.payload)
    if text.startswith("stream "):
        count = int(text.split()[1])
        for number in range(count):
            await ctx.emit(TEXT, done=number + 1 == count)
        return "done"
    if text.startswith("wait "):  # for the follower: a chunk now and then
        for _ in range(int(text.split()[1])):
            await asyncio.sleep(0.01)
            await ctx.emit(TEXT)
        return "done"
    return text


def ours(which: str, port: int, server: str) -> Any:
    from penguiflow_a2a import A2AService, create_a2a_http_app
    from penguiflow_nats.board import NatsTaskBoard

    store = None if which == "memory" else NatsTaskBoard(server, agent="bench")
    service = A2AService(answer, agent_card=card(port), store=store, works=which != "replica")
    return create_a2a_http_app(service)


def theirs(which: str, port: int) -> Any:
    from a2a.server.agent_execution import AgentExecutor
    from a2a.server.request_handlers.default_request_handler_v2 import DefaultRequestHandlerV2
    from a2a.server.routes.jsonrpc_routes import create_jsonrpc_routes
    from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
    from starlette.applications import Starlette

    class Executor(AgentExecutor):
        async def execute(self, context: Any, event_queue: Any) -> None:
            task = pb.Task(
                id=context.task_id,
                context_id=context.context_id,
                status=pb.TaskStatus(state=pb.TASK_STATE_SUBMITTED),
                history=[context.message],
            )
            await event_queue.enqueue_event(task)
            updater = TaskUpdater(event_queue, context.task_id, context.context_id)
            await updater.start_work()
            text = context.get_user_input()
            if text.startswith("stream "):
                count = int(text.split()[1])
                for number in range(count):
                    await updater.add_artifact(
                        [pb.Part(text=TEXT)],
                        artifact_id="stream",
                        append=number > 0,
                        last_chunk=number + 1 == count,
                    )
            else:
                await updater.add_artifact([pb.Part(text=text)])
            await updater.complete()

        async def cancel(self, context: Any, event_queue: Any) -> None:
            raise NotImplementedError

    options: dict[str, Any] = {}
    store: Any = InMemoryTaskStore()
    startup: Any = None
    if which == "sql":
        from a2a.server.cluster.database_event_stream import DatabaseTaskEventStream
        from a2a.server.cluster.database_task_store import VersionedDatabaseTaskStore
        from sqlalchemy.ext.asyncio import create_async_engine

        folder = Path(tempfile.mkdtemp())
        engine = create_async_engine(f"sqlite+aiosqlite:///{folder}/tasks.db")
        store = VersionedDatabaseTaskStore(engine)
        stream = DatabaseTaskEventStream(engine)
        options["event_stream"] = stream

        async def startup() -> None:
            for each in (store, stream):
                initialize = getattr(each, "initialize", None)
                if initialize is not None:
                    await initialize()

    handler = DefaultRequestHandlerV2(
        agent_executor=Executor(), task_store=store, agent_card=card(port), **options
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> Any:
        if startup is not None:
            await startup()
        yield

    return Starlette(routes=create_jsonrpc_routes(handler, "/"), lifespan=lifespan)


def main(which: str, port: int, server: str = "") -> None:
    logging.disable(logging.ERROR)
    app = theirs(which, port) if which in ("sdk", "sql") else ours(which, port, server)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False, ws="none")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
