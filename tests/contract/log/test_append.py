"""Promises of `append`: written once, and only while its conditions hold."""

from __future__ import annotations

import asyncio

import pytest

from penguiflow.durable.log import AlreadyCommitted, InputGone, Log, Position, TraceEnded
from tests.contract.log.conftest import MakeLog
from tests.contract.log.keys import end, ingress, output, record, submit


async def test_an_entry_is_kept_as_it_was_written(log: Log) -> None:
    data = bytes(range(256))
    sequence = await log.append(record("t"), data, headers={"Pf-Test": "value with spaces"})
    stored = await log.get(record("t"))
    assert stored is not None
    assert (stored.key, stored.sequence, stored.data) == (record("t"), sequence, data)
    assert stored.headers["Pf-Test"] == "value with spaces"
    assert stored.position == Position(record("t"), sequence)


async def test_an_entry_without_payload_is_an_entry(log: Log) -> None:
    await log.append(end("t"), b"")
    stored = await log.get(end("t"))
    assert stored is not None
    assert stored.data == b""


async def test_a_second_append_of_a_key_is_refused_whatever_it_carries(log: Log) -> None:
    await log.append(record("t"), b"first")
    for data in (b"first", b"second"):
        with pytest.raises(AlreadyCommitted):
            await log.append(record("t"), data)
    stored = await log.get(record("t"))
    assert stored is not None
    assert stored.data == b"first"


async def test_only_the_very_same_key_is_taken(log: Log) -> None:
    await log.append(record("t", "a", 0), b"")
    for key in (record("t", "a", 1), record("t", "b", 0), record("u", "a", 0), output("t", "a", 0)):
        await log.append(key, b"")


async def test_of_many_racers_exactly_one_wins(make_log: MakeLog) -> None:
    logs = [await make_log() for _ in range(4)]
    source = await submit(logs[0], "t")

    async def race(number: int) -> int | None:
        try:
            data = str(number).encode()
            return await logs[number % 4].append(record("t"), data, after=source)
        except AlreadyCommitted:
            return None

    results = await asyncio.gather(*(race(number) for number in range(20)))
    winners = [number for number, sequence in enumerate(results) if sequence is not None]
    assert len(winners) == 1
    stored = await logs[0].get(record("t"))
    assert stored is not None
    assert stored.data == str(winners[0]).encode()
    assert stored.sequence == results[winners[0]]


async def test_an_append_after_an_entry_that_is_there_is_written(log: Log) -> None:
    source = await submit(log, "t")
    first = await log.append(record("t", "a"), b"", after=source)
    second = await log.append(record("t", "b"), b"", after=Position(record("t", "a"), first))
    assert source.sequence < first < second


async def test_one_input_may_be_answered_under_several_keys(log: Log) -> None:
    source = await submit(log, "t")
    for node in ("a", "b", "c"):
        await log.append(record("t", node), b"", after=source)


async def test_an_append_after_an_entry_that_never_was_is_refused(log: Log) -> None:
    with pytest.raises(InputGone):
        await log.append(record("t"), b"", after=Position(ingress("t"), 1))
    assert await log.get(record("t")) is None


async def test_an_append_after_a_purged_entry_is_refused(log: Log) -> None:
    source = await submit(log, "t")
    await log.purge("t")
    with pytest.raises(InputGone):
        await log.append(record("t"), b"", after=source)


async def test_an_append_after_an_entry_that_was_written_anew_is_refused(log: Log) -> None:
    old = await submit(log, "t")
    await log.purge("t")
    new = await submit(log, "t")
    assert new.sequence > old.sequence
    with pytest.raises(InputGone):
        await log.append(record("t"), b"", after=old)
    await log.append(record("t"), b"", after=new)


async def test_a_late_repeat_after_the_purge_does_not_commit_again(log: Log) -> None:
    source = await submit(log, "t")
    await log.append(record("t"), b"", after=source)
    await log.append(end("t"), b"", after=source)
    await log.purge("t")
    with pytest.raises(InputGone):
        await log.append(record("t"), b"", after=source)
    assert await log.get(record("t")) is None


async def test_a_taken_key_whose_input_is_there_is_called_committed(log: Log) -> None:
    source = await submit(log, "t")
    await log.append(record("t"), b"", after=source)
    with pytest.raises(AlreadyCommitted):
        await log.append(record("t"), b"", after=source)


async def test_a_missing_input_is_named_before_a_taken_key(log: Log) -> None:
    source = await submit(log, "t")
    await log.append(record("t"), b"")
    with pytest.raises(InputGone):
        await log.append(record("t"), b"", after=Position(source.key, source.sequence + 100))


async def test_an_append_is_refused_when_the_trace_has_ended(log: Log) -> None:
    await log.append(ingress("t"), b"", absent=end("t"))
    await log.append(end("t"), b"")
    with pytest.raises(TraceEnded):
        await log.append(ingress("t", 1), b"", absent=end("t"))
    await log.purge("t")
    with pytest.raises(TraceEnded):
        await log.append(ingress("t"), b"", absent=end("t"))
    await log.append(ingress("u"), b"", absent=end("u"))


async def test_a_refused_append_leaves_nothing_behind(log: Log) -> None:
    await log.append(end("t"), b"")
    with pytest.raises(TraceEnded):
        await log.append(ingress("t"), b"", absent=end("t"))
    assert await log.get(ingress("t")) is None
    await log.append(ingress("t"), b"")


async def test_sequences_grow_and_are_never_given_twice(log: Log) -> None:
    seen = [(await submit(log, "t", number)).sequence for number in range(5)]
    await log.purge("t")
    seen += [(await submit(log, "t", number)).sequence for number in range(5)]
    assert seen == sorted(set(seen))


async def test_what_one_connection_wrote_the_other_sees(make_log: MakeLog) -> None:
    one, other = await make_log(), await make_log()
    await one.append(record("t"), b"x")
    stored = await other.get(record("t"))
    assert stored is not None
    with pytest.raises(AlreadyCommitted):
        await other.append(record("t"), b"y")
