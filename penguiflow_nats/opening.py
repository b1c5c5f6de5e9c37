"""A connection for something that opens itself with its first call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ConnectFailed
from penguiflow_nats.runtime import Server, connected

_FIRST, _LONGEST = 0.05, 2.0


@asynccontextmanager
async def opened(server: Server, *, patience: float) -> AsyncIterator[Connection]:
    """The connection; closed at the end unless the caller owns it.

    Args:
        server: Where the server is.
        patience: Seconds for which a server that cannot be reached is tried again.

    Raises:
        ConnectFailed: It could not be reached in this time.
    """
    async with AsyncExitStack() as stack:
        yield await _enter(stack, server, patience)


async def _enter(stack: AsyncExitStack, server: Server, patience: float) -> Connection:
    loop = asyncio.get_running_loop()
    give_up, pause = loop.time() + patience, _FIRST
    while True:
        try:
            return await stack.enter_async_context(connected(server))
        except ConnectFailed:
            if loop.time() + pause > give_up:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST)


__all__ = ["opened"]
