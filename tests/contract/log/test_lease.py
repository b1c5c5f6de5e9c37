"""Promises of a delivery: the lease, and the four ways to settle or keep it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from penguiflow.durable.log import Log
from tests.contract.log.conftest import MakeLog, PassTime
from tests.contract.log.keys import submit, submit_many
from tests.contract.log.worker import Worker

Rest = Callable[[], Awaitable[None]]


async def test_what_is_not_settled_comes_again_when_the_lease_ends(
    make_log: MakeLog, lease: float, pass_time: PassTime
) -> None:
    one, other = await make_log(), await make_log()
    lost = await Worker.start(one, lease=lease, window=1)
    await submit(one, "t")
    first = await lost.next()
    successor = await Worker.start(other, lease=lease, window=1)
    await pass_time(lease * 1.2)
    second = await successor.next()
    assert second.stored.position == first.stored.position
    assert (first.num_delivered, second.num_delivered) == (1, 2)
    await successor.finish(second)


async def test_deliveries_are_counted_over_all_workers(
    log: Log, lease: float, pass_time: PassTime
) -> None:
    await submit(log, "t")
    counts = []
    worker = await Worker.start(log, lease=lease)
    for _ in range(3):
        counts.append((await worker.next()).num_delivered)
        await pass_time(lease * 1.2)
    assert counts == [1, 2, 3]


async def test_progress_keeps_the_lease(
    log: Log, lease: float, pass_time: PassTime, rest: Rest
) -> None:
    worker = await Worker.start(log, lease=lease)
    await submit(log, "t")
    delivery = await worker.next()
    for _ in range(4):
        await pass_time(lease * 0.5)
        delivery.in_progress()
    await rest()
    assert len(worker.arrived) == 1
    await delivery.ack()


async def test_a_lease_without_further_progress_ends(
    log: Log, lease: float, pass_time: PassTime
) -> None:
    worker = await Worker.start(log, lease=lease)
    await submit(log, "t")
    delivery = await worker.next()
    await pass_time(lease * 0.5)
    delivery.in_progress()
    await pass_time(lease * 1.5)
    assert (await worker.next()).num_delivered == 2


async def test_an_ack_is_final(log: Log, lease: float, pass_time: PassTime, rest: Rest) -> None:
    worker = await Worker.start(log, lease=lease)
    await submit(log, "t")
    delivery = await worker.next()
    await delivery.ack()
    await pass_time(lease * 1.5)
    await rest()
    assert len(worker.arrived) == 1


async def test_a_late_ack_still_settles(
    make_log: MakeLog, lease: float, pass_time: PassTime, rest: Rest
) -> None:
    one, other = await make_log(), await make_log()
    late = await Worker.start(one, lease=lease, window=1)
    await submit(one, "t")
    first = await late.next()
    second = await Worker.start(other, lease=lease, window=1)
    await pass_time(lease * 1.2)
    await second.next()
    await first.ack()
    second.release()
    await pass_time(lease * 1.5)
    await rest()
    assert len(second.arrived) == 1


async def test_a_nak_hands_back_at_once(log: Log, lease: float) -> None:
    worker = await Worker.start(log, lease=lease)
    source = await submit(log, "t")
    await (await worker.next()).nak()
    again = await worker.next()
    assert again.stored.position == source
    assert again.num_delivered == 2


async def test_a_nak_with_a_delay_waits_for_it(
    log: Log, lease: float, pass_time: PassTime, rest: Rest
) -> None:
    worker = await Worker.start(log, lease=lease)
    await submit(log, "t")
    # Longer than the lease, so that it is the delay that counts.
    await (await worker.next()).nak(delay=lease * 2)
    await pass_time(lease * 1.2)
    await rest()
    assert len(worker.arrived) == 1
    await pass_time(lease * 1.2)
    assert (await worker.next()).num_delivered == 2


async def test_a_nak_with_a_short_delay_does_not_wait_for_the_lease(
    make_log: MakeLog, lease: float, pass_time: PassTime
) -> None:
    log = await make_log()
    worker = await Worker.start(log, lease=lease)
    await submit(log, "t")
    await (await worker.next()).nak(delay=lease * 0.2)
    await pass_time(lease * 0.4)
    assert (await worker.next()).num_delivered == 2


async def test_a_delay_holds_up_nothing_else(log: Log, lease: float) -> None:
    worker = await Worker.start(log, lease=lease, window=1)
    await submit_many(log, 2)
    await (await worker.next()).nak(delay=lease * 100)
    worker.release()
    assert (await worker.next()).stored.key.input == "i1"


async def test_a_terminated_entry_does_not_come_again(
    log: Log, lease: float, pass_time: PassTime, rest: Rest
) -> None:
    worker = await Worker.start(log, lease=lease)
    await submit(log, "t")
    await (await worker.next()).term("not processable")
    await pass_time(lease * 1.5)
    await rest()
    assert len(worker.arrived) == 1


async def test_an_entry_that_is_due_again_comes_before_new_ones(
    log: Log, lease: float, rest: Rest
) -> None:
    worker = await Worker.start(log, lease=lease, window=1)
    await submit_many(log, 3)
    await (await worker.next()).nak()
    # A nak is not confirmed; the room that follows it may be noticed before it.
    await rest()
    worker.release()
    again = await worker.next()
    assert (again.stored.key.input, again.num_delivered) == ("i0", 2)


async def test_a_settlement_concerns_one_consumer_only(
    log: Log, lease: float, pass_time: PassTime
) -> None:
    one = await Worker.start(log, "one", lease=lease)
    two = await Worker.start(log, "two", lease=lease)
    await submit(log, "t")
    await (await one.next()).ack()
    await two.next()
    await pass_time(lease * 1.2)
    assert (await two.next()).num_delivered == 2
    assert len(one.arrived) == 1
