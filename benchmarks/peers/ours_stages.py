"""A durable flow of this package: a node per stage, one worker, 256 in flight per node."""

from __future__ import annotations

import asyncio
from typing import Any

from stages import Stages, in_batches

from penguiflow import Context, Headers, Message, Node, NodePolicy, create
from penguiflow.cli.memory import settle_collector
from penguiflow_nats import runtime


async def main() -> None:
    run = Stages()

    async def hand_on(msg: Message, ctx: Context) -> Message:
        return msg

    async def end(msg: Message, ctx: Context) -> None:
        run.handled(msg.payload)

    policy = NodePolicy(validate="none")
    nodes = [
        Node(end if number == run.last else hand_on, name=f"stage{number}", policy=policy)
        for number in range(run.stages)
    ]
    flow = create(*(node.to(*nodes[i + 1 : i + 2]) for i, node in enumerate(nodes)), name="stages")
    settle_collector()
    async with runtime.client(flow, run.url) as client:

        async def send(body: dict[str, Any]) -> None:
            await client.emit(Message(payload=body, headers=Headers(tenant="default")))

        await in_batches(run.count, send)
        run.start()
        async with runtime.worker(flow, run.url, concurrency=256):
            await run.finished()
            await run.latency(send)
            run.report()


asyncio.run(main())
