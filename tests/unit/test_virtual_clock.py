"""The virtual clock: order, ties, cancellation, and rest between two wake-ups."""

from __future__ import annotations

import asyncio

import pytest

from penguiflow.clock import Clock
from penguiflow.testing import VirtualClock
from penguiflow.testing.clock import come_to_rest


async def test_time_stands_still_until_it_is_moved() -> None:
    clock: Clock = VirtualClock(start=100.0)
    assert (clock.now(), clock.monotonic()) == (100.0, 0.0)
    await come_to_rest()
    assert (clock.now(), clock.monotonic()) == (100.0, 0.0)


async def test_sleepers_wake_in_order_and_see_their_time() -> None:
    clock = VirtualClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as tasks:
        for name, seconds in [("c", 3.0), ("a", 1.0), ("b", 2.0), ("b2", 2.0), ("never", 9.0)]:
            tasks.create_task(sleeper(name, seconds))
        await clock.advance(2.5)
        assert woken == [("a", 1.0), ("b", 2.0), ("b2", 2.0)]
        assert clock.monotonic() == 2.5
        assert clock.num_sleepers == 2
        await clock.advance(10)
    assert [name for name, _ in woken] == ["a", "b", "b2", "c", "never"]


async def test_one_who_sleeps_again_on_the_way_wakes_again_on_the_way() -> None:
    clock = VirtualClock()
    times: list[float] = []

    async def ticker() -> None:
        for _ in range(3):
            await clock.sleep(1)
            times.append(clock.monotonic())

    task = asyncio.create_task(ticker())
    await clock.advance(10)
    await task
    assert times == [1.0, 2.0, 3.0]


async def test_what_a_sleeper_sets_off_is_done_before_the_next_one_wakes() -> None:
    clock = VirtualClock()
    steps: list[str] = []

    async def chain() -> None:
        await clock.sleep(1)
        for step in range(50):
            await one_turn()
            steps.append(f"first {step}")

    async def second() -> None:
        await clock.sleep(1)
        steps.append("second")

    async def one_turn() -> None:
        await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(chain())
        tasks.create_task(second())
        await clock.advance(1)
    assert steps[-1] == "second"


async def test_a_cancelled_sleeper_leaves_nothing_behind() -> None:
    clock = VirtualClock()
    task = asyncio.create_task(clock.sleep(5))
    await come_to_rest()
    task.cancel()
    await come_to_rest()
    assert clock.num_sleepers == 0
    await clock.advance(10)


async def test_no_time_is_no_wait() -> None:
    clock = VirtualClock()
    await clock.sleep(0)
    await clock.sleep(-1)
    assert clock.num_sleepers == 0


async def test_time_does_not_run_backwards() -> None:
    with pytest.raises(ValueError, match="backwards"):
        await VirtualClock().advance(-1)


async def test_something_restless_does_not_hang_the_clock() -> None:
    clock = VirtualClock()

    async def restless() -> None:
        while True:
            await asyncio.sleep(0)

    task = asyncio.create_task(restless())
    await clock.advance(1)
    task.cancel()
    assert clock.monotonic() == 1.0
