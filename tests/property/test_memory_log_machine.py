"""The log in memory against a simple model, under every order of steps that hypothesis thinks of.

The model keeps, for each consumer, whether an entry is waiting, held until some time, or due again,
and how often it was handed out. After every step the machine looks at what arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from penguiflow.durable.log import (
    AlreadyCommitted,
    ConsumerSpec,
    Consumption,
    InputGone,
    Key,
    Kind,
    LogDelivery,
    LogFull,
    Pattern,
    Position,
    TraceEnded,
)
from penguiflow.memory.log import MemoryLog
from penguiflow.testing import VirtualClock
from penguiflow.testing.clock import come_to_rest

T = TypeVar("T")

LEASE = 10.0
MAX_ENTRIES = 16
MAX_ACK_PENDING = 4

ALL_KEYS = [
    *(Key(Kind.INGRESS, t, "", i) for t in "tuv" for i in "01"),
    *(Key(Kind.RECORD, t, n, i) for t in "tuv" for n in "ab" for i in "01"),
    *(Key(kind, t) for t in "tuv" for kind in (Kind.CANCEL, Kind.END)),
]
keys = st.sampled_from(ALL_KEYS)
delays = st.sampled_from([0.0, 3.0, 25.0])

CONSUMERS = {
    "ingress": (Pattern(Kind.INGRESS),),
    "records": (Pattern(Kind.RECORD, node="a"), Pattern(Kind.RECORD, node="b")),
}


@dataclass
class Held:
    """An entry that was handed out and not settled."""

    until: float | None
    """When it is due; None when it is due now."""


@dataclass
class ModelConsumer:
    """What one consumer owes, as a reader of the contract would write it down."""

    patterns: tuple[Pattern, ...]
    waiting: list[int] = field(default_factory=list)
    held: dict[int, Held] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)

    def wants(self, key: Key) -> bool:
        return any(p.kind is key.kind and p.node in (None, key.node) for p in self.patterns)

    def drop(self, sequence: int) -> None:
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        self.held.pop(sequence, None)
        self.counts.pop(sequence, None)

    def due(self, now: float) -> set[int]:
        return {s for s, h in self.held.items() if h.until is None or h.until <= now}


@dataclass(eq=False)
class Hand:
    """One worker of one consumer."""

    consumer: str
    log: MemoryLog
    window: int
    unreleased: int = 0
    is_over: bool = False
    is_killed: bool = False
    consumption: Consumption | None = None


@dataclass(eq=False)
class InHand:
    """A delivery and the worker that got it."""

    hand: Hand
    delivery: LogDelivery
    released: bool = False


class MemoryLogMachine(RuleBasedStateMachine):
    """Steps of writers, workers and time."""

    hands = Bundle("hands")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self.fail)
        self.failure: BaseException | None = None
        self.clock = VirtualClock()
        self.log = MemoryLog(clock=self.clock, max_entries=MAX_ENTRIES, end_ttl=None)
        self.entries: dict[Key, tuple[int, bytes]] = {}
        self.last = 0
        self.written = 0
        self.consumers: dict[str, ModelConsumer] = {}
        self.workers: list[Hand] = []
        self.deliveries: list[InHand] = []

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        async def and_rest() -> T:
            try:
                return await step
            finally:
                await come_to_rest()

        result = self.loop.run_until_complete(and_rest())
        if self.failure is not None:
            raise self.failure
        return result

    def fail(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Keep what a delivery's check raised inside the loop."""
        self.failure = self.failure or context.get("exception")

    def teardown(self) -> None:
        self.run(self.log.close())
        for worker in self.workers:
            self.run(worker.log.close())
        self.loop.close()

    # Writers

    @rule(data=st.data(), count=st.integers(1, 4))
    def commit(self, data: st.DataObject, count: int) -> None:
        """What a sound writer does: new keys, answers to what is there."""
        for _ in range(count):
            free = [key for key in ALL_KEYS if key not in self.entries]
            if not free:
                return
            key = data.draw(st.sampled_from(free))
            after = None
            if self.entries and data.draw(st.booleans()):
                source = data.draw(st.sampled_from(list(self.entries)))
                after = Position(source, self.entries[source][0])
            self.append(key, after, None)

    @rule(
        key=keys,
        condition=st.sampled_from(["none", "after", "absent"]),
        other=keys,
        offset=st.sampled_from([0, -1, 1]),
    )
    def append_anything(self, key: Key, condition: str, other: Key, offset: int) -> None:
        at = self.entries.get(other, (self.last + 1, b""))[0] + offset
        after = Position(other, at) if condition == "after" else None
        self.append(key, after, other if condition == "absent" else None)

    def append(self, key: Key, after: Position | None, absent: Key | None) -> None:
        self.written += 1
        data = str(self.written).encode()
        refusal = self.refusal(key, after, absent)
        append = self.log.append(key, data, after=after, absent=absent)
        if refusal is not None:
            with pytest.raises(refusal):
                self.run(append)
            return
        # The model first: the step delivers at once.
        self.last += 1
        self.entries[key] = (self.last, data)
        for consumer in self.consumers.values():
            if consumer.wants(key):
                consumer.waiting.append(self.last)
        assert self.run(append) == self.last

    def refusal(
        self, key: Key, after: Position | None, absent: Key | None
    ) -> type[Exception] | None:
        if after is not None and self.entries.get(after.key, (None,))[0] != after.sequence:
            return InputGone
        if absent is not None and absent in self.entries:
            return TraceEnded
        if key in self.entries:
            return AlreadyCommitted
        if len(self.entries) >= MAX_ENTRIES:
            return LogFull
        return None

    @rule(trace=st.sampled_from("tuv"), newest=st.none() | st.integers(0, 3))
    def purge(self, trace: str, newest: int | None) -> None:
        upto = None if newest is None else self.last - newest
        gone = [
            key
            for key, (sequence, _) in self.entries.items()
            if key.trace == trace and not key.kind.is_marker and (upto is None or sequence <= upto)
        ]
        for key in gone:
            sequence, _ = self.entries.pop(key)
            for consumer in self.consumers.values():
                consumer.drop(sequence)
        assert self.run(self.log.purge(trace, upto=upto)) == len(gone)

    # Workers

    @initialize(target=hands)
    def first_workers(self) -> MultipleResults[Hand]:
        return multiple(*(self.join(name, 2) for name in CONSUMERS))

    @precondition(lambda self: sum(not worker.is_over for worker in self.workers) < 6)
    @rule(target=hands, name=st.sampled_from(list(CONSUMERS)), window=st.integers(1, 3))
    def join(self, name: str, window: int) -> Hand:
        worker = Hand(name, self.log.connect(), window)
        if name not in self.consumers:
            model = self.consumers[name] = ModelConsumer(CONSUMERS[name])
            model.waiting = sorted(s for k, (s, _) in self.entries.items() if model.wants(k))
        spec = ConsumerSpec(name, CONSUMERS[name], lease=LEASE, max_ack_pending=MAX_ACK_PENDING)
        self.workers.append(worker)

        async def consume() -> None:
            worker.consumption = await worker.log.consume(
                spec, lambda d: self.arrive(worker, d), window=window, on_gone=pytest.fail
            )

        self.run(consume())
        return worker

    def arrive(self, worker: Hand, delivery: LogDelivery) -> None:
        """Compare a delivery with what the model owes right now."""
        now = self.clock.monotonic()
        model, sequence = self.consumers[worker.consumer], delivery.stored.sequence
        assert not worker.is_over
        assert self.entries[delivery.stored.key] == (sequence, delivery.stored.data)
        if sequence in model.waiting:
            assert sequence == model.waiting[0], "new entries come in order"
            assert len(model.held) < MAX_ACK_PENDING
            assert not model.due(now), "what is due again comes first"
            model.waiting.remove(sequence)
        else:
            assert sequence in model.due(now)
        model.held[sequence] = Held(now + LEASE)
        model.counts[sequence] = model.counts.get(sequence, 0) + 1
        assert delivery.num_delivered == model.counts[sequence]
        worker.unreleased += 1
        assert worker.unreleased <= worker.window
        self.deliveries.append(InHand(worker, delivery))

    def can_pick(self) -> bool:
        return bool(self.deliveries)

    def pick(self, data: st.DataObject) -> InHand:
        """A delivery, the youngest being the simplest choice; also one that is long settled."""
        return data.draw(st.sampled_from(self.deliveries[::-1]))

    @precondition(can_pick)
    @rule(data=st.data(), verb=st.sampled_from(["ack", "term"]))
    def settle(self, data: st.DataObject, verb: str) -> None:
        chosen = self.pick(data)
        if chosen.hand.is_killed:
            return
        self.consumers[chosen.hand.consumer].drop(chosen.delivery.stored.sequence)
        self.run(chosen.delivery.ack() if verb == "ack" else chosen.delivery.term("why"))

    @precondition(can_pick)
    @rule(data=st.data(), delay=delays)
    def nak(self, data: st.DataObject, delay: float) -> None:
        chosen = self.pick(data)
        if chosen.hand.is_killed:
            return
        model = self.consumers[chosen.hand.consumer]
        sequence = chosen.delivery.stored.sequence
        if sequence in model.held:
            until = None if delay == 0 else self.clock.monotonic() + delay
            model.held[sequence] = Held(until)
        self.run(chosen.delivery.nak(delay))

    @precondition(can_pick)
    @rule(data=st.data())
    def in_progress(self, data: st.DataObject) -> None:
        chosen = self.pick(data)
        if chosen.hand.is_killed:
            return
        model = self.consumers[chosen.hand.consumer]
        sequence = chosen.delivery.stored.sequence
        now = self.clock.monotonic()
        if sequence in model.held and sequence not in model.due(now):
            model.held[sequence] = Held(now + LEASE)

        async def renew() -> None:
            chosen.delivery.in_progress()

        self.run(renew())

    @precondition(can_pick)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        chosen = self.pick(data)
        if chosen.released or chosen.hand.consumption is None:
            return
        chosen.released = True
        chosen.hand.unreleased -= 1
        consumption = chosen.hand.consumption

        async def release() -> None:
            consumption.release()

        self.run(release())

    @precondition(lambda self: sum(not worker.is_over for worker in self.workers) > 2)
    @rule(worker=hands, how=st.sampled_from(["stop", "kill"]))
    def leave(self, worker: Hand, how: str) -> None:
        worker.is_over = True
        assert worker.consumption is not None
        if how == "stop":
            self.run(worker.consumption.stop())
            return
        worker.is_killed = True

        async def kill() -> None:
            worker.log.kill()

        self.run(kill())

    # Time

    @rule(seconds=st.sampled_from([0.5, 3.0, LEASE, 26.0]))
    def pass_time(self, seconds: float) -> None:
        self.run(self.clock.advance(seconds))

    # What holds at any time

    @invariant()
    def nothing_is_kept_back(self) -> None:
        """Where somebody has room, nothing that he may get is left lying."""
        now = self.clock.monotonic()
        for name, model in self.consumers.items():
            hungry = [
                worker
                for worker in self.workers
                if worker.consumer == name
                and not worker.is_over
                and worker.unreleased < worker.window
            ]
            if hungry:
                assert not model.due(now)
                assert not model.waiting or len(model.held) >= MAX_ACK_PENDING

    @invariant()
    def the_log_reads_as_the_model(self) -> None:
        entries = self.run(self.log.read([Pattern()]))
        assert [(e.key, e.sequence, e.data) for e in entries] == sorted(
            ((key, sequence, data) for key, (sequence, data) in self.entries.items()),
            key=lambda entry: entry[1],
        )
        for key in ALL_KEYS[::5]:
            stored = self.run(self.log.get(key))
            assert (stored is None) == (key not in self.entries)


TestMemoryLog = MemoryLogMachine.TestCase
TestMemoryLog.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
# Passing takes seconds; a failure is made small first, which takes minutes.
TestMemoryLog.pytestmark = [pytest.mark.timeout(600)]  # type: ignore[attr-defined]
