"""taskiq-nats: one work-queue stream, pulls of 256, 256 tasks at once, no result backend."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig
from stages import Stages, in_batches
from taskiq.receiver import Receiver
from taskiq_nats import PullBasedJetStreamBroker


async def main() -> None:
    run = Stages()
    broker = PullBasedJetStreamBroker(
        run.url,
        stream_name="tasks",
        subject="tasks",
        durable="worker",
        stream_config=StreamConfig(
            name="tasks", subjects=["tasks"], retention=RetentionPolicy.WORK_QUEUE
        ),
        consumer_config=ConsumerConfig(durable_name="worker", max_ack_pending=20_000),
        pull_consume_batch=256,
        pull_consume_timeout=0.5,
        pending_size=64 << 20,
    )
    tasks: list[Any] = []

    def task(number: int) -> Any:
        async def stage(body: dict[str, Any]) -> None:
            if number == run.last:
                run.handled(body)
            else:
                await tasks[number + 1].kiq(body)

        return broker.register_task(stage, task_name=f"stage{number}")

    tasks.extend(task(number) for number in range(run.stages))
    broker.is_worker_process = True
    await broker.startup()
    await in_batches(run.count, tasks[0].kiq)
    receiver = Receiver(broker, max_async_tasks=256, max_prefetch=256, run_startup=False)
    finish = asyncio.Event()
    run.start()
    listening = asyncio.create_task(receiver.listen(finish))
    await run.finished()
    await run.latency(tasks[0].kiq)
    run.report()
    finish.set()
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await listening
    await broker.shutdown()


asyncio.run(main())
