"""Asyncio tasks: which one this is, and how they end."""

from __future__ import annotations

import asyncio
from typing import Any


def this_task() -> asyncio.Task[Any]:
    """The task that runs this; only for code that a task of ours runs."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - see above
    return task


async def end_tasks(*tasks: asyncio.Future[Any] | None) -> None:
    """Cancel tasks and wait until they have ended; what they raise is nobody's any more. None is
    a task that was never begun."""
    begun = [task for task in tasks if task is not None]
    for task in begun:
        task.cancel()
    await asyncio.gather(*begun, return_exceptions=True)


async def outlast(task: asyncio.Future[None]) -> None:
    """Wait for the end of a task whatever cancels come meanwhile; one of them is raised then."""
    interrupted = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            interrupted = True
    if interrupted:
        raise asyncio.CancelledError
    task.result()


__all__ = ["end_tasks", "outlast", "this_task"]
