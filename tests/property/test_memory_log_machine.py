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
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

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
MAX_ENTRIES = 12
MAX_ACK_PENDING = 4

traces = st.sampled_from(["t", "u", "v"])
nodes = st.sampled_from(["a", "b"])
inputs = st.sampled_from(["0", "1"])
keys = st.one_of(
    st.builds(Key, st.just(Kind.INGRESS), traces, st.just(""), inputs),
    st.builds(Key, st.just(Kind.RECORD), traces, nodes, inputs),
    st.builds(Key, st.sampled_from([Kind.CANCEL, Kind.END]), traces),
)
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

    @rule(
        key=keys,
        condition=st.sampled_from(["none", "after", "absent"]),
        other=keys,
        offset=st.sampled_from([0, 0, 0, -1, 1]),
    )
    def append(self, key: Key, condition: str, other: Key, offset: int) -> None:
        self.written += 1
        data = str(self.written).encode()
        at = self.entries.get(other, (self.last + 1, b""))[0] + offset
        after = Position(other, at) if condition == "after" else None
        absent = other if condition == "absent" else None
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

    @rule(trace=traces, newest=st.none() | st.integers(0, 3))
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

    @rule(key=keys)
    def get(self, key: Key) -> None:
        stored = self.run(self.log.get(key))
        found = None if stored is None else (stored.sequence, stored.data)
        assert found == self.entries.get(key)

    # Workers

    @initialize(target=hands)
    def first_worker(self) -> Hand:
        return self.join("ingress", 2)

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

    def pick(self, data: st.DataObject) -> InHand | None:
        return data.draw(st.sampled_from(self.deliveries)) if self.deliveries else None

    @rule(data=st.data(), verb=st.sampled_from(["ack", "term"]))
    def settle(self, data: st.DataObject, verb: str) -> None:
        chosen = self.pick(data)
        if chosen is None or chosen.hand.is_killed:
            return
        self.consumers[chosen.hand.consumer].drop(chosen.delivery.stored.sequence)
        self.run(chosen.delivery.ack() if verb == "ack" else chosen.delivery.term("why"))

    @rule(data=st.data(), delay=delays)
    def nak(self, data: st.DataObject, delay: float) -> None:
        chosen = self.pick(data)
        if chosen is None or chosen.hand.is_killed:
            return
        model = self.consumers[chosen.hand.consumer]
        sequence = chosen.delivery.stored.sequence
        if sequence in model.held:
            until = None if delay == 0 else self.clock.monotonic() + delay
            model.held[sequence] = Held(until)
        self.run(chosen.delivery.nak(delay))

    @rule(data=st.data())
    def in_progress(self, data: st.DataObject) -> None:
        chosen = self.pick(data)
        if chosen is None or chosen.hand.is_killed:
            return
        model = self.consumers[chosen.hand.consumer]
        sequence = chosen.delivery.stored.sequence
        now = self.clock.monotonic()
        if sequence in model.held and sequence not in model.due(now):
            model.held[sequence] = Held(now + LEASE)

        async def renew() -> None:
            chosen.delivery.in_progress()

        self.run(renew())

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        chosen = self.pick(data)
        if chosen is None or chosen.released or chosen.hand.consumption is None:
            return
        chosen.released = True
        chosen.hand.unreleased -= 1
        consumption = chosen.hand.consumption

        async def release() -> None:
            consumption.release()

        self.run(release())

    @rule(worker=hands)
    def stop(self, worker: Hand) -> None:
        worker.is_over = True
        assert worker.consumption is not None
        self.run(worker.consumption.stop())

    @rule(worker=hands)
    def kill(self, worker: Hand) -> None:
        worker.is_over = True
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
        assert [(e.key, e.sequence) for e in entries] == sorted(
            ((key, sequence) for key, (sequence, _) in self.entries.items()),
            key=lambda pair: pair[1],
        )


TestMemoryLog = MemoryLogMachine.TestCase
TestMemoryLog.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
