"""Queues of waiting tasks, from which nobody who is cancelled takes a wake-up with him."""

from __future__ import annotations

import asyncio
from collections import deque

Waiters = deque[asyncio.Future[None]]
"""Who waits, in order of arrival."""


def wake(waiters: Waiters) -> None:
    """Wake the first who still waits."""
    while waiters:
        waiter = waiters.popleft()
        if not waiter.done():
            waiter.set_result(None)
            return


def wake_all(waiters: Waiters) -> None:
    """Wake everybody who waits now."""
    while waiters:
        waiter = waiters.popleft()
        if not waiter.done():
            waiter.set_result(None)


async def wait_in(waiters: Waiters) -> None:
    """Wait to be woken; the caller then looks whether there is something for it."""
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiters.append(waiter)
    try:
        await waiter
    except BaseException:
        if waiter in waiters:
            waiters.remove(waiter)
        if waiter.done() and not waiter.cancelled():  # woken and cancelled: let another one look
            wake(waiters)
        raise
