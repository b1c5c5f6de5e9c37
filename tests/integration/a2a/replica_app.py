"""A replica in a process of its own: `python -m tests.integration.a2a.replica_app URL PORT WORKS`.

Prints "ready" when it takes requests.
"""

from __future__ import annotations

import asyncio
import sys

import uvicorn

from penguiflow_a2a import A2AService, create_a2a_http_app
from penguiflow_nats.agent_options import AgentOptions
from penguiflow_nats.board import NatsTaskBoard
from tests.integration.a2a.agents import flow
from tests.integration.a2a.conftest import card


async def main(url: str, port: int, works: bool) -> None:
    board = NatsTaskBoard(
        url, agent="durable", options=AgentOptions(concurrency=8, lease=1.0), sweep=0.5
    )
    service = A2AService(flow(), agent_card=card(streaming=True), store=board, works=works)
    config = uvicorn.Config(create_a2a_http_app(service), port=port, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "works"))
