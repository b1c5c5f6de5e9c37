"""The log that fails on purpose: which faults, when, and that they can be repeated."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from penguiflow.durable.log import (
    ConsumerSpec,
    InputGone,
    Key,
    Kind,
    LogDelivery,
    LogUnavailable,
    Pattern,
    Position,
)
from penguiflow.memory.log import MemoryLog
from penguiflow.testing import Fault, FaultyLog, VirtualClock
from penguiflow.testing.clock import come_to_rest

LEASE = 10.0
SPEC = ConsumerSpec("work", [Pattern(Kind.INGRESS)], lease=LEASE)


def ingress(number: int) -> Key:
    return Key(Kind.INGRESS, "t", "", f"i{number}")


def make(seed: int = 1, **options: Any) -> tuple[MemoryLog, FaultyLog, VirtualClock]:
    clock = VirtualClock()
    log = MemoryLog(clock=clock)
    return log, FaultyLog(log, seed, clock=clock, **options), clock


async def outcomes(seed: int) -> list[bool]:
    _, faulty, _ = make(seed, rate=0.5, longest_delay=0.0)
    answered = []
    for number in range(40):
        try:
            await faulty.append(ingress(number), b"")
            answered.append(True)
        except LogUnavailable:
            answered.append(False)
    return answered


async def test_the_same_seed_fails_the_same_calls() -> None:
    assert await outcomes(1) == await outcomes(1)
    assert await outcomes(1) != await outcomes(2)


async def test_without_a_rate_nothing_fails() -> None:
    log, faulty, _ = make(rate=0.0)
    for number in range(50):
        await faulty.append(ingress(number), b"")
    assert len(await faulty.read([Pattern()])) == 50
    assert await faulty.get(ingress(0)) == await log.get(ingress(0))
    assert await faulty.purge("t") == 50
    assert not faulty.faults
    assert (faulty.tenant, faulty.flow) == (log.tenant, log.flow)
    assert faulty.server_time() == log.server_time()


async def test_calls_fail_before_and_after_they_take_effect() -> None:
    log, faulty, _ = make(rate=1.0, longest_delay=0.0)
    written, unwritten = 0, 0
    for number in range(60):
        try:
            await faulty.append(ingress(number), b"")
        except LogUnavailable:
            if await log.get(ingress(number)) is None:
                unwritten += 1
            else:
                written += 1
    assert faulty.faults[Fault.LOST] == unwritten > 0
    assert faulty.faults[Fault.UNKNOWN] == written > 0
    assert faulty.faults[Fault.LATE] == 60 - written - unwritten > 0


async def test_a_lost_refusal_is_an_unknown_outcome_too() -> None:
    _, faulty, _ = make(rate=1.0, longest_delay=0.0)
    seen = set()
    for number in range(40):
        try:
            await faulty.append(ingress(number), b"", after=Position(ingress(99), 1))
        except (InputGone, LogUnavailable) as error:
            seen.add(type(error))
    assert seen == {InputGone, LogUnavailable}


async def test_a_call_may_take_long() -> None:

    log, faulty, clock = make(rate=1.0, longest_delay=100.0)
    calls = [asyncio.ensure_future(faulty.append(ingress(n), b"")) for n in range(20)]
    await come_to_rest()
    early = len(await log.read([Pattern()]))
    await clock.advance(100.0)
    assert len(await log.read([Pattern()])) > early
    await asyncio.gather(*calls, return_exceptions=True)


async def test_a_delivery_may_come_once_more_while_it_is_in_hand() -> None:
    log, faulty, clock = make(seed=3, rate=0.0, longest_delay=0.5)
    arrived: list[LogDelivery] = []
    consumption = await faulty.consume(SPEC, arrived.append, window=100, on_gone=pytest.fail)
    faulty.rate = 1.0
    for number in range(10):
        await log.append(ingress(number), b"")
    await come_to_rest()
    faulty.rate = 0.0
    await clock.advance(1.0)
    twice = faulty.faults[Fault.TWICE]
    assert twice > 0
    assert sorted(delivery.num_delivered for delivery in arrived) == [1] * 10 + [2] * twice
    await consumption.stop()
    await log.close()


async def test_what_is_late_at_a_stop_is_handed_back() -> None:
    log, faulty, _ = make(seed=3, rate=0.0, longest_delay=5.0)
    arrived: list[LogDelivery] = []
    successor: list[LogDelivery] = []
    consumption = await faulty.consume(SPEC, arrived.append, window=100, on_gone=pytest.fail)
    faulty.rate = 1.0
    for number in range(10):
        await log.append(ingress(number), b"")
    await come_to_rest()
    late = faulty.faults[Fault.LATE]
    assert len(arrived) == 10 - late < 10
    await consumption.stop()
    await log.consume(SPEC, successor.append, window=100, on_gone=pytest.fail)
    await come_to_rest()
    assert len(successor) == late
    await log.close()


async def test_an_ack_fails_before_or_after_it_settles() -> None:
    log, faulty, clock = make(rate=0.0, longest_delay=0.0)
    arrived: list[LogDelivery] = []
    consumption = await faulty.consume(SPEC, arrived.append, window=100, on_gone=pytest.fail)
    for number in range(30):
        await log.append(ingress(number), b"")
    await come_to_rest()
    faulty.rate = 1.0
    for delivery in arrived:
        with contextlib.suppress(LogUnavailable):
            await delivery.ack()
    lost, unknown = faulty.faults[Fault.LOST], faulty.faults[Fault.UNKNOWN]
    assert lost > 0
    assert unknown > 0
    faulty.rate = 0.0
    await clock.advance(LEASE + 1)
    assert len(arrived) == 30 + lost
    await consumption.stop()
    await log.close()


async def test_what_is_not_confirmed_gets_lost_without_a_word() -> None:
    log, faulty, clock = make(rate=0.0)
    arrived: list[LogDelivery] = []
    consumption = await faulty.consume(SPEC, arrived.append, window=100, on_gone=pytest.fail)
    for number in range(3):
        await log.append(ingress(number), b"")
    await come_to_rest()
    faulty.rate = 1.0
    await arrived[0].nak()
    await arrived[1].term("why")
    arrived[2].in_progress()
    faulty.broadcast("topic", b"")
    faulty.rate = 0.0
    await come_to_rest()
    assert len(arrived) == 3
    await clock.advance(LEASE + 1)
    assert len(arrived) == 6
    await consumption.stop()
    await log.close()


async def test_nothing_that_was_opened_in_vain_stays_open() -> None:
    log, faulty, _ = make(rate=1.0, longest_delay=0.0)
    arrived: list[LogDelivery] = []
    opened, heard = [], []
    for _ in range(20):
        with contextlib.suppress(LogUnavailable):
            opened.append(await faulty.consume(SPEC, arrived.append, window=1, on_gone=pytest.fail))
        try:
            await faulty.listen("topic", lambda _topic, data: heard.append(data))
        except LogUnavailable:
            heard.append(b"refused")
    assert 0 < len(opened) < 20
    assert 0 < heard.count(b"refused") < 20
    faulty.rate = 0.0
    for number in range(40):
        await log.append(ingress(number), b"")
    await come_to_rest()
    assert len(arrived) == len(opened)
    log.broadcast("topic", b"news")
    await come_to_rest()
    assert len(heard) == 20
    for consumption in opened:
        consumption.pause()
        consumption.release()
        await consumption.stop()
    await log.close()


def test_a_rate_is_a_share() -> None:
    with pytest.raises(ValueError, match="rate"):
        make(rate=1.5)
