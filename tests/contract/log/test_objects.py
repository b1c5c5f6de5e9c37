"""Promises about what is too large for an entry."""

from __future__ import annotations

import asyncio

from penguiflow.durable.log import INLINE_BYTES, Log
from tests.contract.log.conftest import MakeLog
from tests.contract.log.keys import record

LARGE = bytes(range(256)) * 8192


async def test_an_object_is_there_for_every_reader_when_it_was_put(make_log: MakeLog) -> None:
    log, other = await make_log(), await make_log()
    await log.objects.put("flow.t.1", LARGE)
    assert await other.objects.get("flow.t.1") == LARGE
    assert await other.objects.get("flow.t.2") is None


async def test_an_object_that_is_put_by_many_at_once_is_there(make_log: MakeLog) -> None:
    log, other = await make_log(), await make_log()
    await asyncio.gather(*(each.objects.put("flow.t.1", LARGE) for each in (log, other, log)))
    assert await log.objects.get("flow.t.1") == LARGE


async def test_strays_go_and_what_is_wanted_or_new_stays(log: Log) -> None:
    for name in ("flow.t.1", "flow.u.2"):
        await log.objects.put(name, LARGE)
    now = log.server_time()
    assert await log.objects.remove_strays(lambda _: False, before=now - 600) == 0
    assert await log.objects.remove_strays(lambda n: ".t." in n, before=now + 600) == 1
    assert await log.objects.get("flow.t.1") == LARGE
    assert await log.objects.get("flow.u.2") is None


async def test_nothing_was_put_and_nothing_goes(log: Log) -> None:
    assert await log.objects.remove_strays(lambda _: False, before=log.server_time()) == 0


async def test_what_is_said_to_fit_into_an_entry_does(log: Log) -> None:
    assert 0 < log.inline_bytes <= INLINE_BYTES
    key = record("t" * 64)
    await log.append(key, bytes(log.inline_bytes))
    stored = await log.get(key)
    assert stored is not None
    assert len(stored.data) == log.inline_bytes
