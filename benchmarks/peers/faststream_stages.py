"""FastStream on JetStream: pull subscribers of batches of 256, work-queue streams."""

from __future__ import annotations

import asyncio
from typing import Any

import nats
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from nats.js.api import RetentionPolicy, StreamConfig
from stages import Stages, in_batches


async def main() -> None:
    run = Stages()
    names = [f"stage{number}" for number in range(run.stages)]
    client = await nats.connect(run.url)
    for name in names:
        config = StreamConfig(
            name=name, subjects=[f"{name}.in"], retention=RetentionPolicy.WORK_QUEUE
        )
        await client.jetstream().add_stream(config)
    await client.close()
    broker = NatsBroker(run.url, pending_size=64 << 20, logger=None)
    streams = [JStream(name, subjects=[f"{name}.in"], declare=False) for name in names]

    def stage(number: int) -> Any:
        async def hand_on(body: dict[str, Any]) -> dict[str, Any]:
            return body

        async def end(body: dict[str, Any]) -> None:
            run.handled(body)

        function: Any = end
        if number != run.last:
            following = number + 1
            publisher = broker.publisher(f"{names[following]}.in", stream=streams[following])
            function = publisher(hand_on)
        subscriber = broker.subscriber(
            f"{names[number]}.in",
            stream=streams[number],
            durable=f"worker{number}",
            pull_sub=PullSub(batch_size=256, timeout=0.5),
            ack_policy=AckPolicy.NACK_ON_ERROR,
        )
        return subscriber(function)

    for number in range(run.stages):
        stage(number)

    async def send(body: dict[str, Any]) -> None:
        await broker.publish(body, f"{names[0]}.in", stream=names[0])

    await broker.connect()
    await in_batches(run.count, send)
    run.start()
    await broker.start()
    await run.finished()
    await run.latency(send)
    run.report()
    await broker.stop()


asyncio.run(main())
