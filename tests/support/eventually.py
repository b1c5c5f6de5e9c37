"""Waiting for something that becomes true, without a sleep of a guessed length."""

import asyncio
from collections.abc import Callable


async def eventually(condition: Callable[[], object], timeout: float = 8.0) -> None:
    """Wait until the condition holds.

    Args:
        condition: Asked every few milliseconds.
        timeout: Longest wait in seconds.

    Raises:
        AssertionError: It does not hold in time.
    """
    try:
        async with asyncio.timeout(timeout):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        msg = "the condition did not come true in time"
        raise AssertionError(msg) from None
