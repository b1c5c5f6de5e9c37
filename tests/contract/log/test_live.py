"""Promises about what is streamed of a trace while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from penguiflow.durable.log import Log, Pattern
from tests.contract.log.conftest import MakeLog
from tests.contract.log.keys import submit
from tests.contract.log.worker import PATIENCE

Rest = Callable[[], Awaitable[None]]


async def until(heard: list[bytes], count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(heard) < count:
            await asyncio.sleep(0.01)


async def test_what_was_streamed_is_read_in_order(make_log: MakeLog) -> None:
    one, other = await make_log(), await make_log()
    pieces = [str(number).encode() for number in range(30)]
    for piece in pieces:
        await one.publish_live("t", piece)
    await one.publish_live("u", b"another trace")
    assert await other.read_live("t") == pieces
    assert await other.read_live("nobody") == []


async def test_a_listener_hears_its_trace_from_now_on(make_log: MakeLog, rest: Rest) -> None:
    one, other = await make_log(), await make_log()
    await one.publish_live("t", b"before")
    heard: list[bytes] = []
    await other.listen_live("t", heard.append)
    await rest()
    for piece in (b"1", b"2", b"3"):
        await one.publish_live("u", b"another trace")
        await one.publish_live("t", piece)
    await until(heard, 3)
    assert heard == [b"1", b"2", b"3"]


async def test_who_unsubscribed_hears_nothing_more(log: Log, rest: Rest) -> None:
    heard: list[bytes] = []
    subscription = await log.listen_live("t", heard.append)
    await subscription.unsubscribe()
    await subscription.unsubscribe()
    await log.publish_live("t", b"1")
    await rest()
    assert heard == []


async def test_the_same_piece_may_be_streamed_again(log: Log) -> None:
    await log.publish_live("t", b"x")
    await log.publish_live("t", b"x")
    assert await log.read_live("t") == [b"x", b"x"]


async def test_what_is_streamed_is_no_entry_of_the_log(log: Log) -> None:
    source = await submit(log, "t")
    await log.publish_live("t", b"x")
    assert [entry.position for entry in await log.read([Pattern()])] == [source]
    assert await log.purge("t") == 1
