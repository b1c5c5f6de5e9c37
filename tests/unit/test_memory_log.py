"""What the log in memory promises beyond the contract: turns of the loop, death, bounds."""

from __future__ import annotations

import asyncio

import pytest

from penguiflow.durable.log import (
    ConsumerSpec,
    EntryTooLarge,
    Key,
    Kind,
    LogDelivery,
    LogError,
    LogUnavailable,
    Pattern,
    Position,
)
from penguiflow.memory.log import MemoryLog
from penguiflow.testing import VirtualClock
from penguiflow.testing.clock import come_to_rest

LEASE = 10.0
IN = Key(Kind.INGRESS, "t", "", "i0")
END = Key(Kind.END, "t")
SPEC = ConsumerSpec("work", [Pattern(Kind.INGRESS)], lease=LEASE)


def ignore(_: object) -> None:
    """Nobody is interested."""


async def consume(
    log: MemoryLog, arrived: list[LogDelivery], *, spec: ConsumerSpec = SPEC, window: int = 10
) -> None:
    await log.consume(spec, arrived.append, window=window, on_gone=pytest.fail)


async def test_a_delivery_never_happens_inside_the_append() -> None:
    log, inside, arrivals = MemoryLog(), False, []

    def deliver(_: LogDelivery) -> None:
        arrivals.append(inside)

    await log.consume(SPEC, deliver, window=1, on_gone=pytest.fail)
    append = log.append(IN, b"").__await__()
    inside = True
    next(append)
    inside = False
    await come_to_rest()
    assert arrivals == [False]


async def test_a_failing_worker_does_not_stop_the_others() -> None:
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    log, arrived = MemoryLog(), []

    def deliver(delivery: LogDelivery) -> None:
        arrived.append(delivery)
        if len(arrived) == 1:
            raise RuntimeError

    await log.consume(SPEC, deliver, window=10, on_gone=pytest.fail)
    for number in range(3):
        await log.append(Key(Kind.INGRESS, "t", "", f"i{number}"), b"")
    await come_to_rest()
    assert (len(arrived), len(errors)) == (3, 1)
    await log.close()


async def test_a_killed_worker_settles_nothing_and_its_work_comes_again() -> None:
    clock = VirtualClock()
    log = MemoryLog(clock=clock)
    victim, successor = log.connect(), log.connect()
    in_victims_hand: list[LogDelivery] = []
    in_successors_hand: list[LogDelivery] = []
    await consume(victim, in_victims_hand)
    await log.append(IN, b"")
    await come_to_rest()
    victim.kill()
    await consume(successor, in_successors_hand)
    with pytest.raises(LogUnavailable):
        await in_victims_hand[0].ack()
    await in_victims_hand[0].nak()
    await in_victims_hand[0].term("why")
    in_victims_hand[0].in_progress()
    await clock.advance(LEASE - 1)
    assert in_successors_hand == []
    await clock.advance(2)
    assert [delivery.num_delivered for delivery in in_successors_hand] == [2]
    await successor.close()


async def test_what_is_on_its_way_to_a_worker_that_dies_is_lost_until_the_lease_ends() -> None:
    clock = VirtualClock()
    log = MemoryLog(clock=clock)
    victim, arrived = log.connect(), []
    await consume(victim, arrived)
    # The first turn hands the entry out, the second one would bring it to the worker.
    append = asyncio.ensure_future(log.append(IN, b""))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    victim.kill()
    await append
    await come_to_rest()
    assert arrived == []
    successor: list[LogDelivery] = []
    await consume(log, successor)
    await clock.advance(LEASE + 1)
    assert [delivery.num_delivered for delivery in successor] == [2]
    await log.close()


async def test_what_is_on_its_way_to_a_stopped_consumption_is_handed_back() -> None:
    log, stopped, successor = MemoryLog(clock=VirtualClock()), [], []
    consumption = await log.consume(SPEC, stopped.append, window=1, on_gone=pytest.fail)
    append = asyncio.ensure_future(log.append(IN, b""))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await consumption.stop()
    await append
    await consume(log, successor)
    await come_to_rest()
    assert stopped == []
    assert [delivery.num_delivered for delivery in successor] == [2]
    await log.close()


async def test_every_call_on_a_killed_connection_fails() -> None:
    log = MemoryLog()
    dead = log.connect()
    dead.kill()
    dead.broadcast("topic", b"")
    for call in (
        dead.append(IN, b""),
        dead.get(IN),
        dead.read([Pattern()]),
        dead.purge("t"),
        dead.listen("topic", ignore),  # type: ignore[arg-type]
        dead.consume(SPEC, ignore, window=1, on_gone=ignore),
        dead.delete_consumer("work"),
    ):
        with pytest.raises(LogUnavailable):
            await call
    assert await log.read([Pattern()]) == []


async def test_a_killed_listener_hears_nothing() -> None:
    log, heard = MemoryLog(), []
    listener = log.connect()
    await listener.listen("topic", lambda topic, _: heard.append(topic))
    log.broadcast("topic", b"")
    listener.kill()
    await come_to_rest()
    assert heard == []


async def test_close_leaves_no_task_behind() -> None:
    log = MemoryLog()
    await consume(log, [])
    await log.append(IN, b"")
    await come_to_rest()
    assert len(asyncio.all_tasks()) == 2, "the test and the alarm of the lease"
    await log.close()
    await log.close()
    assert len(asyncio.all_tasks()) == 1


async def test_a_lease_that_ends_while_nobody_has_room_does_not_keep_the_loop_busy() -> None:
    class CountingClock(VirtualClock):
        sleeps = 0

        async def sleep(self, seconds: float) -> None:
            self.sleeps += 1
            await super().sleep(seconds)

    clock, arrived = CountingClock(), []
    log = MemoryLog(clock=clock)
    await consume(log, arrived, window=1)
    await log.append(IN, b"")
    await clock.advance(LEASE + 1)
    assert len(arrived) == 1
    assert clock.sleeps == 1, "the alarm of the one lease"
    await log.close()


async def test_other_terms_for_a_consumer_that_exists_are_refused() -> None:
    log = MemoryLog()
    await consume(log, [])
    other = ConsumerSpec("work", [Pattern(Kind.RECORD)], lease=LEASE)
    with pytest.raises(LogError, match="other settings"):
        await consume(log, [], spec=other)
    await consume(log, [], spec=ConsumerSpec("work", (Pattern(Kind.INGRESS),), lease=LEASE))
    await log.close()


async def test_deleting_a_consumer_that_is_not_there_says_so() -> None:
    assert await MemoryLog().delete_consumer("nobody") is False


async def test_a_deleted_consumer_begins_anew() -> None:
    log, arrived, gone = MemoryLog(), [], []
    await log.append(IN, b"")
    await log.consume(SPEC, arrived.append, window=1, on_gone=gone.append)
    await come_to_rest()
    await arrived[0].ack()
    await log.delete_consumer("work")
    await consume(log, arrived)
    await come_to_rest()
    assert gone == ["the consumer was deleted"]
    assert [delivery.num_delivered for delivery in arrived] == [1, 1]
    await log.close()


async def test_a_window_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="window"):
        await consume(MemoryLog(), [], window=0)


async def test_a_release_too_many_makes_no_place() -> None:
    log, arrived = MemoryLog(), []
    consumption = await log.consume(SPEC, arrived.append, window=1, on_gone=pytest.fail)
    consumption.release()
    for number in range(2):
        await log.append(Key(Kind.INGRESS, "t", "", f"i{number}"), b"")
    await come_to_rest()
    assert len(arrived) == 1
    await log.close()


async def test_an_append_takes_one_condition_beside_its_own_key() -> None:
    with pytest.raises(ValueError, match="not both"):
        await MemoryLog().append(IN, b"", after=Position(IN, 1), absent=END)


async def test_markers_leave_the_log_by_age_and_nothing_else_does() -> None:
    clock = VirtualClock()
    log = MemoryLog(clock=clock, end_ttl=100.0)
    await log.append(IN, b"")
    await log.append(END, b"")
    await clock.advance(60)
    await log.append(Key(Kind.END, "u"), b"")
    await clock.advance(60)
    assert [entry.key for entry in await log.read([Pattern()])] == [IN, Key(Kind.END, "u")]
    assert await log.get(END) is None
    await log.append(END, b"again")


async def test_what_left_the_log_by_age_is_not_delivered() -> None:
    clock, arrived = VirtualClock(), []
    log = MemoryLog(clock=clock, end_ttl=100.0)
    await log.append(END, b"")
    await clock.advance(101)
    await consume(log, arrived, spec=ConsumerSpec("ends", [Pattern(Kind.END)]))
    await come_to_rest()
    assert arrived == []
    await log.close()


async def test_the_size_limit_is_exact() -> None:
    log = MemoryLog(max_entry_bytes=100)
    await log.append(IN, bytes(100))
    with pytest.raises(EntryTooLarge, match="101 bytes exceeds the limit of 100") as refused:
        await log.append(END, bytes(101))
    assert (refused.value.size, refused.value.limit) == (101, 100)
    # The header's name and value, and the four bytes that frame it.
    await log.append(END, bytes(90), headers={"abc": "123"})
    with pytest.raises(EntryTooLarge):
        await log.append(Key(Kind.END, "u"), bytes(91), headers={"abc": "123"})


async def test_a_stored_entry_does_not_follow_its_writers_hands() -> None:
    log = MemoryLog()
    data, headers = bytearray(b"abc"), {"a": "1"}
    await log.append(IN, data, headers=headers)
    data[0] = 0
    headers["a"] = "2"
    stored = await log.get(IN)
    assert stored is not None
    assert (stored.data, stored.headers) == (b"abc", {"a": "1"})


async def test_listeners_that_do_not_keep_up_lose_broadcasts_not_memory() -> None:
    log, heard = MemoryLog(), 0

    def hear(_topic: str, _data: bytes) -> None:
        nonlocal heard
        heard += 1

    await log.listen("*", hear)
    for _ in range(70_000):
        log.broadcast("topic", b"")
    await come_to_rest()
    assert heard == 65_536
    log.broadcast("topic", b"")
    await come_to_rest()
    assert heard == 65_537


@pytest.mark.parametrize("topic", ["", "a..b", "a.>", "**.b", "a b", "a.b*", "a.\n"])
async def test_a_topic_that_is_none_is_refused(topic: str) -> None:
    log = MemoryLog()
    with pytest.raises(ValueError, match="topic"):
        await log.listen(topic, lambda _topic, _data: None)
    with pytest.raises(ValueError, match="topic"):
        log.broadcast(topic, b"")


async def test_one_cannot_broadcast_to_a_pattern() -> None:
    with pytest.raises(ValueError, match="topic"):
        MemoryLog().broadcast("cancel.*", b"")


async def test_memory_is_given_back_with_the_trace() -> None:
    log = MemoryLog(max_bytes=1_000)
    for number in range(50):
        await log.append(Key(Kind.RECORD, f"t{number}", "a", "i"), bytes(500))
        await log.purge(f"t{number}")
    assert await log.read([Pattern()]) == []
