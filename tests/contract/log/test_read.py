"""Promises of `get`, `read` and `purge`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from penguiflow.durable.log import Key, Kind, Log, Pattern
from tests.contract.log.conftest import MakeLog, PassTime
from tests.contract.log.keys import cancel, end, ingress, output, record, submit, submit_many

ALL = (
    ingress("t"),
    record("t", "a"),
    record("t", "b"),
    output("t", "b", 0),
    output("t", "c", 1),
    ingress("u"),
    record("u", "a"),
    cancel("u"),
    end("u"),
)


async def fill(log: Log) -> None:
    for key in ALL:
        await log.append(key, b"")


async def read_keys(log: Log, patterns: Sequence[Pattern]) -> list[Key]:
    return [entry.key for entry in await log.read(patterns)]


async def test_a_key_that_was_never_written_is_not_there(log: Log) -> None:
    assert await log.get(record("t")) is None


@pytest.mark.parametrize(
    "pattern",
    [
        Pattern(),
        Pattern(trace="t"),
        Pattern(kind=Kind.RECORD),
        Pattern(kind=Kind.INGRESS),
        Pattern(kind=Kind.END),
        Pattern(kind=Kind.END, trace="t"),
        Pattern(kind=Kind.CANCEL),
        Pattern(kind=Kind.CANCEL, trace="u"),
        Pattern(kind=Kind.RECORD, node="a"),
        Pattern(kind=Kind.OUTPUT, node="c"),
        Pattern(kind=Kind.RECORD, trace="t"),
        Pattern(kind=Kind.RECORD, trace="t", node="a", input="i0"),
        Pattern(kind=Kind.RECORD, trace="nobody"),
        Pattern(kind=Kind.INGRESS, input="i0"),
    ],
    ids=str,
)
async def test_a_pattern_finds_what_it_names_in_order(log: Log, pattern: Pattern) -> None:
    await fill(log)
    wanted = [
        key
        for key in ALL
        if pattern.kind in (None, key.kind)
        and pattern.trace in (None, key.trace)
        and pattern.node in (None, key.node)
        and pattern.input in (None, key.input)
    ]
    assert await read_keys(log, [pattern]) == wanted


async def test_several_patterns_find_their_union_in_order(log: Log) -> None:
    await fill(log)
    patterns = [Pattern(kind=Kind.RECORD, node="a"), Pattern(kind=Kind.INGRESS)]
    assert await read_keys(log, patterns) == [ALL[0], ALL[1], ALL[5], ALL[6]]


async def test_the_entries_of_several_traces_are_read_as_they_were_written(log: Log) -> None:
    positions = [await submit(log, "uvt"[number % 3], number) for number in range(9)]
    patterns = [Pattern(trace=trace) for trace in "tuv"]
    assert await read_keys(log, patterns) == [position.key for position in positions]


async def test_an_entry_that_two_patterns_name_is_found_once(log: Log) -> None:
    await fill(log)
    patterns = [Pattern(trace="u"), Pattern(kind=Kind.INGRESS)]
    assert await read_keys(log, patterns) == [ALL[0], ALL[5], ALL[6], ALL[7], ALL[8]]


async def test_no_pattern_finds_nothing(log: Log) -> None:
    await fill(log)
    assert await log.read([]) == []


async def test_many_entries_are_read_completely(log: Log) -> None:
    await submit_many(log, 300)
    entries = await log.read([Pattern(trace="t")])
    assert [entry.data for entry in entries] == [f"t/{number}".encode() for number in range(300)]


async def test_a_purge_takes_the_trace_and_leaves_its_markers(log: Log) -> None:
    await fill(log)
    assert await log.purge("u") == 2
    assert await read_keys(log, [Pattern()]) == [*ALL[:5], cancel("u"), end("u")]
    assert await log.get(end("u")) is not None
    assert await log.get(cancel("u")) is not None
    assert await log.get(record("u", "a")) is None


async def test_a_second_purge_finds_nothing(log: Log) -> None:
    await fill(log)
    assert await log.purge("t") == 5
    assert await log.purge("t") == 0
    assert await log.purge("nobody") == 0


async def test_a_purge_up_to_a_sequence_leaves_what_came_later(log: Log) -> None:
    positions = await submit_many(log, 4)
    assert await log.purge("t", upto=positions[1].sequence) == 2
    assert await read_keys(log, [Pattern()]) == [position.key for position in positions[2:]]


async def test_a_purge_does_not_reach_names_that_only_begin_alike(log: Log) -> None:
    await submit(log, "t")
    await submit(log, "tt")
    await submit(log, "t-1")
    assert await log.purge("t") == 1
    assert await read_keys(log, [Pattern()]) == [ingress("tt"), ingress("t-1")]


async def test_an_entry_shows_when_it_was_taken(make_log: MakeLog, pass_time: PassTime) -> None:
    log = await make_log()
    await submit(log, "t", 0)
    await pass_time(1.0)
    await submit(log, "t", 1)
    first, second = await log.read([Pattern(trace="t")])
    assert second.timestamp - first.timestamp >= 1.0
    # The estimate of a remote clock may be a little off, an hour is another clock.
    assert abs(log.server_time() - second.timestamp) < 3600
