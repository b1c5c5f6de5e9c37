"""Promises about what does not fit."""

from __future__ import annotations

import pytest

from penguiflow.durable.log import (
    AlreadyCommitted,
    EntryTooLarge,
    InputGone,
    Log,
    LogFull,
    Pattern,
    Position,
)
from tests.contract.log.conftest import MakeLog
from tests.contract.log.keys import ingress, record, submit, submit_many


async def test_a_full_log_takes_nothing_more_and_loses_nothing(make_log: MakeLog) -> None:
    log = await make_log(max_entries=3)
    await submit_many(log, 3)
    with pytest.raises(LogFull):
        await log.append(record("u"), b"")
    assert len(await log.read([Pattern()])) == 3


async def test_a_log_full_of_bytes_takes_nothing_more(make_log: MakeLog) -> None:
    log = await make_log(max_bytes=4000)
    await log.append(ingress("t", 0), bytes(3000))
    with pytest.raises(LogFull):
        await log.append(ingress("t", 1), bytes(3000))
    await log.append(ingress("t", 2), bytes(10))


async def test_a_purge_makes_room(make_log: MakeLog) -> None:
    log = await make_log(max_entries=2)
    await submit_many(log, 2, trace="t")
    await log.purge("t")
    await submit_many(log, 2, trace="u")
    with pytest.raises(LogFull):
        await submit(log, "u", 2)


async def test_a_full_log_still_tells_what_is_committed(make_log: MakeLog) -> None:
    log = await make_log(max_entries=2)
    source = await submit(log, "t")
    await log.append(record("t"), b"", after=source)
    with pytest.raises(AlreadyCommitted):
        await log.append(record("t"), b"", after=source)


async def test_a_full_log_still_tells_what_is_gone(make_log: MakeLog) -> None:
    log = await make_log(max_entries=1)
    await submit(log, "t")
    with pytest.raises(InputGone):
        await log.append(record("t"), b"", after=Position(ingress("u"), 1))


async def test_an_entry_that_no_message_can_carry_is_refused(log: Log) -> None:
    with pytest.raises(EntryTooLarge) as refused:
        await log.append(record("t"), bytes(3_000_000))
    assert refused.value.size >= 3_000_000
    assert 0 < refused.value.limit < 3_000_000
    assert await log.get(record("t")) is None


async def test_headers_count_for_the_size(log: Log) -> None:
    with pytest.raises(EntryTooLarge) as refused:
        await log.append(record("t"), bytes(10), headers={"Pf-Big": "x" * 3_000_000})
    assert refused.value.size > 3_000_000


async def test_an_entry_at_the_limit_is_carried(log: Log) -> None:
    with pytest.raises(EntryTooLarge) as refused:
        await log.append(record("t"), bytes(3_000_000))
    # Conditions travel as headers too, so a few hundred bytes stay theirs.
    data = bytes(refused.value.limit - 1000)
    await log.append(record("t"), data, after=await submit(log, "t"))
