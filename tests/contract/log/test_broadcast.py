"""Promises of `broadcast` and `listen`: whoever listens now hears it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from penguiflow.durable.log import Log
from tests.contract.log.conftest import MakeLog
from tests.contract.log.worker import PATIENCE

Rest = Callable[[], Awaitable[None]]


class Ear:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._news = asyncio.Event()

    def __call__(self, topic: str, data: bytes) -> None:
        self.heard.append((topic, data))
        self._news.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.heard) < count:
                self._news.clear()
                await self._news.wait()


async def test_everybody_who_listens_hears(make_log: MakeLog, rest: Rest) -> None:
    one, other = await make_log(), await make_log()
    ears = [Ear(), Ear(), Ear()]
    for log, ear in zip((one, other, other), ears, strict=True):
        await log.listen("cancel.t1", ear)
    # The interest of one connection may need a moment to reach the server of another.
    await rest()
    one.broadcast("cancel.t1", b"why")
    for ear in ears:
        await ear.until(1)
        assert ear.heard == [("cancel.t1", b"why")]


async def test_a_star_is_one_token(log: Log, rest: Rest) -> None:
    ear = Ear()
    await log.listen("cancel.*", ear)
    for topic in ("cancel", "cancel.t1", "cancel.t1.more", "cancelled.t1", "other.t1"):
        log.broadcast(topic, b"")
    log.broadcast("cancel.t2", b"")
    await ear.until(2)
    await rest()
    assert [topic for topic, _ in ear.heard] == ["cancel.t1", "cancel.t2"]


async def test_a_star_may_stand_anywhere(log: Log, rest: Rest) -> None:
    ear = Ear()
    await log.listen("*.t1.*", ear)
    for topic in ("a.t1.b", "a.t2.b", "t1.b", "a.t1", "c.t1.d", "a.t1.b.c"):
        log.broadcast(topic, b"")
    await ear.until(2)
    await rest()
    assert [topic for topic, _ in ear.heard] == ["a.t1.b", "c.t1.d"]


async def test_what_was_said_before_is_not_heard(log: Log, rest: Rest) -> None:
    log.broadcast("cancel.t1", b"early")
    await rest()
    ear = Ear()
    await log.listen("cancel.t1", ear)
    log.broadcast("cancel.t1", b"now")
    await ear.until(1)
    await rest()
    assert [data for _, data in ear.heard] == [b"now"]


async def test_who_unsubscribed_hears_nothing(log: Log, rest: Rest) -> None:
    ear = Ear()
    subscription = await log.listen("cancel.*", ear)
    await subscription.unsubscribe()
    await subscription.unsubscribe()
    log.broadcast("cancel.t1", b"")
    await rest()
    assert ear.heard == []


async def test_nobody_has_to_listen(log: Log) -> None:
    log.broadcast("cancel.t1", b"")
