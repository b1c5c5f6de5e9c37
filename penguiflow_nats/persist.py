"""Repeats a call of the server that is safe to repeat, until it is answered or time is up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Container
from typing import TypeVar

from penguiflow_nats import error_codes
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ApiError, NatsError, NoResponders, OutcomeUnknown

T = TypeVar("T")

_TRANSIENT = frozenset((error_codes.WRONG_LAST_SEQUENCE_UNKNOWN, error_codes.UNAVAILABLE))
_FIRST, _LONGEST = 0.05, 2.0


def is_transient(error: NatsError) -> bool:
    """Whether the same call may be answered otherwise a moment later.

    A full stream is not: it comes with the 503 of a server that is busy, but stays full until
    somebody makes room. Who waits for that says so, with `also` of `persist`.
    """
    if isinstance(error, ApiError):
        if error.err_code == error_codes.MAXIMUM_REACHED:
            return False
        return error.err_code in _TRANSIENT or error.code == 503
    return isinstance(error, OutcomeUnknown | NoResponders)


async def persist(
    connection: Connection,
    action: Callable[[], Awaitable[T]],
    *,
    limit: float,
    also: Container[int] = (),
    never: Container[int] = (),
) -> T:
    """What the action gives, tried again with back-offs while the server is away.

    Args:
        connection: Waited for while it is down.
        action: Safe to repeat.
        limit: Seconds after which the last problem is raised.
        also: Codes of refusals that may pass, for instance of a full stream.
        never: Codes of refusals that are not waited for, although they may pass.

    Raises:
        NatsError: what the server refused, or the last problem when time was up.
    """
    give_up = asyncio.get_running_loop().time() + limit
    tries = 0
    while True:
        try:
            return await action()
        except NatsError as error:
            passing = is_transient(error) or (
                isinstance(error, ApiError) and error.err_code in also
            )
            if isinstance(error, ApiError) and error.err_code in never:
                raise
            left = give_up - asyncio.get_running_loop().time()
            if not passing or left <= 0:
                raise
        pause = min(_LONGEST, _FIRST * 2**tries) * random.uniform(0.5, 1.0)  # noqa: S311
        await asyncio.sleep(min(left, pause))
        if not connection.is_connected:
            await _connected(connection, left)
        tries += 1


async def _connected(connection: Connection, limit: float) -> None:
    """Wait for the connection, at most a while: then the next try says what is wrong."""
    end = asyncio.get_running_loop().time() + limit
    while not connection.is_connected and asyncio.get_running_loop().time() < end:
        if connection.is_closed:
            return
        await asyncio.sleep(0.02)
