"""Promises of a consumption's window: never more asked for or in hand than it has places."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from penguiflow.durable.log import Log
from tests.contract.log.conftest import MakeLog, PassTime
from tests.contract.log.keys import submit, submit_many
from tests.contract.log.worker import Worker

Rest = Callable[[], Awaitable[None]]


async def test_a_full_window_gets_nothing_more(log: Log, lease: float, rest: Rest) -> None:
    await submit_many(log, 20)
    worker = await Worker.start(log, lease=lease, window=5)
    await worker.take(5)
    await rest()
    assert len(worker.arrived) == 5


async def test_an_ack_alone_frees_no_place(log: Log, lease: float, rest: Rest) -> None:
    await submit_many(log, 3)
    worker = await Worker.start(log, lease=lease, window=1)
    await (await worker.next()).ack()
    await rest()
    assert len(worker.arrived) == 1


async def test_each_release_gives_room_for_one(log: Log, lease: float, rest: Rest) -> None:
    await submit_many(log, 20)
    worker = await Worker.start(log, lease=lease, window=3)
    for delivery in await worker.take(3):
        await worker.finish(delivery)
        await rest()
    await worker.take(3)
    await rest()
    assert len(worker.arrived) == 6


async def test_the_window_is_never_exceeded(log: Log, lease: float) -> None:
    await submit_many(log, 50)
    worker = await Worker.start(log, lease=lease, window=4)
    for number in range(50):
        delivery = await worker.next()
        await worker.finish(delivery)
        if number % 10 == 0:
            await submit(log, "u", number)
    await worker.take(4)
    assert worker.most_held <= 4


async def test_a_full_window_is_not_stretched_by_a_redelivery(
    make_log: MakeLog, lease: float, pass_time: PassTime
) -> None:
    one, other = await make_log(), await make_log()
    await submit_many(one, 2)
    full = await Worker.start(one, lease=lease, window=2)
    await full.take(2)
    successor = await Worker.start(other, lease=lease, window=2)
    await pass_time(lease * 1.2)
    again = await successor.take(2)
    assert [delivery.num_delivered for delivery in again] == [2, 2]
    assert len(full.arrived) == 2


async def test_a_place_freed_after_the_lease_takes_the_redelivery(
    log: Log, lease: float, pass_time: PassTime, rest: Rest
) -> None:
    await submit(log, "t")
    worker = await Worker.start(log, lease=lease, window=1)
    await worker.next()
    await pass_time(lease * 1.2)
    await rest()
    assert len(worker.arrived) == 1
    worker.release()
    assert (await worker.next()).num_delivered == 2


async def test_a_paused_consumption_asks_for_nothing_more(
    log: Log, lease: float, rest: Rest
) -> None:
    await submit_many(log, 10)
    worker = await Worker.start(log, lease=lease, window=2)
    held = await worker.take(2)
    worker.consumption.pause()
    for delivery in held:
        await worker.finish(delivery)
    await rest()
    assert len(worker.arrived) == 2


async def test_no_more_than_the_limit_is_unsettled_at_a_time(
    make_log: MakeLog, lease: float, rest: Rest
) -> None:
    logs = [await make_log() for _ in range(3)]
    workers = [await Worker.start(log, lease=lease, window=2, max_ack_pending=3) for log in logs]
    await submit_many(logs[0], 10)
    await rest()
    arrived = [delivery for worker in workers for delivery in worker.arrived]
    assert len(arrived) == 3
    await arrived[0].ack()
    # Its place is not given back, so it is another worker that gets the next one.
    await rest()
    assert sum(len(worker.arrived) for worker in workers) == 4
