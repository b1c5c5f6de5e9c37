"""Promises of `consume`: who gets what, in which order, and what purge and stop do to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from penguiflow.durable.log import Kind, Log, Pattern
from tests.contract.log.conftest import MakeLog, PassTime
from tests.contract.log.keys import end, ingress, output, record, submit, submit_many
from tests.contract.log.worker import PATIENCE, Worker

Rest = Callable[[], Awaitable[None]]


async def test_a_consumer_gets_each_entry_as_it_is_written(log: Log, lease: float) -> None:
    worker = await Worker.start(log, lease=lease)
    source = await submit(log, "t")
    delivery = await worker.next()
    assert delivery.stored.position == source
    assert delivery.stored.data == b"t/0"
    assert delivery.num_delivered == 1
    await worker.finish(delivery)


async def test_a_late_consumer_gets_the_old_entries_in_order(log: Log, lease: float) -> None:
    await submit_many(log, 5)
    worker = await Worker.start(log, lease=lease)
    await submit(log, "t", 5)
    assert [d.stored.key.input for d in await worker.take(6)] == [f"i{n}" for n in range(6)]


async def test_a_long_backlog_arrives_completely(log: Log, lease: float) -> None:
    await submit_many(log, 600)
    worker = await Worker.start(log, lease=lease * 10, window=700)
    await worker.take(600)
    assert worker.inputs == [f"i{number}" for number in range(600)]


async def test_a_consumer_gets_only_what_its_patterns_name(
    log: Log, lease: float, rest: Rest
) -> None:
    patterns = (Pattern(Kind.RECORD, node="a"), Pattern(Kind.OUTPUT, node="b"))
    worker = await Worker.start(log, lease=lease, patterns=patterns)
    wanted = [record("t", "a"), output("t", "b"), record("u", "a", 7)]
    for key in (wanted[0], record("t", "b"), wanted[1], output("t", "a"), wanted[2], end("t")):
        await log.append(key, b"")
    await worker.take(3)
    await rest()
    assert [delivery.stored.key for delivery in worker.arrived] == wanted


async def test_workers_of_one_name_share_the_work(make_log: MakeLog, lease: float) -> None:
    one, other = await make_log(), await make_log()
    workers = [await Worker.start(log, lease=lease, window=4) for log in (one, other)]

    async def work(worker: Worker) -> None:
        while True:
            await worker.finish(await worker.next())

    tasks = [asyncio.create_task(work(worker)) for worker in workers]
    await submit_many(one, 60)
    async with asyncio.timeout(PATIENCE):
        while sum(len(worker.arrived) for worker in workers) < 60:
            await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    inputs = [name for worker in workers for name in worker.inputs]
    assert sorted(inputs) == sorted(f"i{number}" for number in range(60))


async def test_consumers_of_two_names_both_get_every_entry(log: Log, lease: float) -> None:
    workers = [await Worker.start(log, name, lease=lease) for name in ("one", "two")]
    await submit_many(log, 3)
    for worker in workers:
        for delivery in await worker.take(3):
            assert delivery.num_delivered == 1
            await worker.finish(delivery)


async def test_a_consumer_remembers_what_is_settled(
    make_log: MakeLog, lease: float, rest: Rest
) -> None:
    log = await make_log()
    await submit_many(log, 2)
    worker = await Worker.start(log, lease=lease)
    for delivery in await worker.take(2):
        await worker.finish(delivery)
    await worker.stop()
    await submit(log, "t", 2)
    successor = await Worker.start(await make_log(), lease=lease)
    await successor.next()
    await rest()
    assert successor.inputs == ["i2"]


async def test_a_purge_takes_queued_work_away(
    log: Log, lease: float, rest: Rest, pass_time: PassTime
) -> None:
    worker = await Worker.start(log, lease=lease, window=1)
    await submit_many(log, 5, trace="t")
    await submit(log, "u", 9)
    first = await worker.next()
    await log.purge("t")
    await worker.finish(first)
    assert (await worker.next()).stored.key == ingress("u", 9)
    await rest()
    assert worker.inputs == ["i0", "i9"]


async def test_work_in_hand_does_not_come_back_after_a_purge(
    log: Log, lease: float, rest: Rest, pass_time: PassTime
) -> None:
    worker = await Worker.start(log, lease=lease)
    await submit(log, "t")
    delivery = await worker.next()
    await log.purge("t")
    await pass_time(lease * 1.5)
    await rest()
    await delivery.ack()
    assert len(worker.arrived) == 1


async def test_a_key_that_is_written_anew_after_a_purge_is_new_work(log: Log, lease: float) -> None:
    worker = await Worker.start(log, lease=lease)
    await submit(log, "t")
    await worker.next()
    await log.purge("t")
    again = await submit(log, "t")
    delivery = await worker.next()
    assert delivery.stored.position == again
    assert delivery.num_delivered == 1


async def test_a_stopped_consumption_gets_nothing_more(
    make_log: MakeLog, lease: float, rest: Rest
) -> None:
    one, other = await make_log(), await make_log()
    stopped = await Worker.start(one, lease=lease)
    successor = await Worker.start(other, lease=lease)
    await stopped.stop()
    await stopped.stop()
    await submit_many(one, 10)
    await successor.take(10)
    await rest()
    assert stopped.arrived == []


async def test_what_is_in_hand_at_a_stop_stays_in_hand(
    make_log: MakeLog, lease: float, rest: Rest, pass_time: PassTime
) -> None:
    one, other = await make_log(), await make_log()
    stopped = await Worker.start(one, lease=lease)
    await submit(one, "t", 0)
    held = await stopped.next()
    await stopped.stop()
    successor = await Worker.start(other, lease=lease)
    await submit(one, "t", 1)
    assert (await successor.next()).stored.key == ingress("t", 1)
    await successor.arrived[0].ack()
    await held.ack()
    await pass_time(lease * 1.5)
    await rest()
    assert successor.inputs == ["i1"]


async def test_a_deleted_consumer_is_reported(
    log: Log, lease: float, delete_consumer: Callable[[Log, str], Awaitable[None]]
) -> None:
    worker = await Worker.start(log, lease=lease)
    await submit(log, "t")
    await worker.next()
    await delete_consumer(log, "work")
    async with asyncio.timeout(PATIENCE):
        while not worker.gone:
            await asyncio.sleep(0.01)
    assert worker.gone[0]
