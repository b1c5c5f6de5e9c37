"""walnats: an event and an actor per stage, polls of 256, publishes that are acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import walnats
from stages import Stages, in_batches


async def main() -> None:
    run = Stages()
    events = [walnats.Event(f"stage{number}", dict) for number in range(run.stages)]
    async with walnats.Events(*events).connect(run.url) as out:
        await out.register()

        def actor(number: int) -> Any:
            async def stage(body: dict[str, Any]) -> None:
                if number == run.last:
                    run.handled(body)
                else:
                    await out.emit(events[number + 1], body, sync=True)

            return walnats.Actor(f"worker{number}", events[number], stage, max_jobs=256)

        actors = walnats.Actors(*(actor(number) for number in range(run.stages)))
        async with actors.connect(run.url) as listening:
            await listening.register()

            async def send(body: dict[str, Any]) -> None:
                await out.emit(events[0], body, sync=True)

            await in_batches(run.count, send)
            run.start()
            worker = asyncio.create_task(listening.listen(batch=256, max_jobs=512, poll_delay=0.5))
            await run.finished()
            await run.latency(send)
            run.report()
            worker.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await worker


asyncio.run(main())
