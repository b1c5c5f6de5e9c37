"""A join over workers: its state is the log itself.

The inputs of a join lie in the log. Whoever is handed an input looks which of its trace are there;
whoever sees a complete group commits the joined message. The log is totally ordered, so the last
input of a group always sees the whole group, and the commit is fenced, so several who see it
commit once. An input that a reader has seen in an incomplete group needs nothing more: a later one
will look again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any

from penguiflow.clock import SYSTEM_CLOCK, Clock
from penguiflow.durable import hints, weight
from penguiflow.durable.claims import Claims, ObjectMissing, claimed_size
from penguiflow.durable.codec import MalformedValue, ValueCodec
from penguiflow.durable.delivery import DurableDelivery
from penguiflow.durable.envelope import Envelope, MalformedEnvelope, decode
from penguiflow.durable.inputs import Input, input_for
from penguiflow.durable.join_timeout import JoinTimeout, TooLate
from penguiflow.durable.log import Key, Kind, Log, LogDelivery, LogUnavailable, Pattern, Stored
from penguiflow.durable.stuck import StuckJoins
from penguiflow.durable.tokens import derive
from penguiflow.durable.topology import Topology, record_key
from penguiflow.errors import FlowError
from penguiflow.join import Join, joined
from penguiflow.node import Node, NodePolicy
from penguiflow.settle import settle_entry
from penguiflow.telemetry.instrument import FlowInstrument

_REMEMBERED = 4096
"""Traces whose join is remembered in this process; forgetting one costs a read, not a result."""


_MANY = 1000
"""Inputs of one trace from which on a look is so dear that several inputs should share it."""
_PAUSE_SHARE, _LONGEST_PAUSE = 2.0, 2.0
"""How long such a look is waited for, in lengths of the last one, and in seconds at most."""


@dataclass(slots=True)
class _Seen:
    """What this process has seen of one trace's join."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    upto: int = 0
    """Every input up to this sequence was seen by a read that found its group incomplete."""
    complete: dict[Key, Key] = field(default_factory=dict)
    """Inputs whose group was seen complete, with the key of the group's record."""
    pause: float = 0.0
    """Seconds to let pass before the next look: many inputs take long to read."""
    committed: set[Key] = field(default_factory=set)
    """Records of groups that are known to be committed."""


@dataclass(frozen=True, slots=True)
class _Arrival:
    stored: Stored
    input: Input
    envelope: Envelope


class DurableJoin:
    """Opens the deliveries of one join node."""

    def __init__(
        self,
        node: Node,
        join: Join,
        topology: Topology,
        codec: ValueCodec,
        log: Log,
        *,
        claims: Claims,
        worker: str,
        clock: Clock = SYSTEM_CLOCK,
        probe: FlowInstrument | None = None,
        timeout: JoinTimeout | None = None,
    ) -> None:
        self._clock = clock
        self.node = node
        self._name = str(node.name)
        self._token = topology.tokens[self._name]
        self._join = join
        self._codec = codec
        self._claims = claims
        self._log = log
        self._stuck = StuckJoins(log, topology, codec, claims, worker=worker, probe=probe)
        self._timeout = timeout
        self._patterns = topology.consumer(node).patterns
        self._traces: OrderedDict[str, _Seen] = OrderedDict()

    @property
    def seconds(self) -> float | None:
        """How long a group has, if there is a limit."""
        return self._join.timeout_s

    async def open(self, delivery: DurableDelivery) -> DurableDelivery | None:
        """The delivery that commits a complete group; None when this input needs nothing more.

        Of one trace only one delivery is open at a time: `closed` must follow.

        Raises:
            LogUnavailable: the read did not show this very input: it was answered by a replica
                that is behind.
            TooLate: the time of the input's group was over when it came.
            MalformedValue, ObjectMissing: a value cannot be read; the delivery stands for the
                group.
        """
        entry = delivery.log_delivery
        seen = self._seen(entry.stored.key.trace)
        opened = None
        await seen.lock.acquire()
        try:
            if not await self._needs_nothing(entry.stored, seen):
                if seen.pause:
                    await self._clock.sleep(seen.pause)
                opened = await self._look(delivery, seen)
        finally:
            if opened is None:
                seen.lock.release()
        if opened is None:
            await settle_entry(entry)
        return opened

    def closed(self, delivery: DurableDelivery) -> None:
        """The run of an opened delivery is over, however it ended."""
        self._seen(delivery.log_delivery.stored.key.trace).lock.release()

    async def _needs_nothing(self, entry: Stored, seen: _Seen) -> bool:
        record = seen.complete.get(entry.key)
        if record is None:
            return entry.sequence <= seen.upto
        if record not in seen.committed:
            if await self._log.get(record) is None:
                return False
            seen.committed.add(record)
        return True

    def _seen(self, trace: str) -> _Seen:
        seen = self._traces.setdefault(trace, _Seen())
        self._traces.move_to_end(trace)
        if len(self._traces) > _REMEMBERED:
            oldest = next(iter(self._traces.values()))
            if not oldest.lock.locked():
                self._traces.popitem(last=False)
        return seen

    async def _look(self, delivery: DurableDelivery, seen: _Seen) -> DurableDelivery | None:
        own, started = delivery.log_delivery.stored, self._clock.monotonic()
        arrivals, lost = await self._arrivals(own.key.trace)
        position = next((i for i, a in enumerate(arrivals) if a.stored.key == own.key), None)
        if position is None:
            msg = "the log's answer does not hold the input that asked; a replica is behind"
            raise LogUnavailable(msg)
        count = await self._expected(arrivals[0])
        index = position // count
        group = arrivals[index * count : (index + 1) * count]
        identity = derive("join", self._name, index)
        if self._timeout is not None:
            arrived = await self._timeout.arrived(own.key.trace, identity)
            if arrived is not None:
                if position - index * count < arrived:
                    return None
                raise TooLate(self._timeout.too_late())
        if len(group) < count:
            if self._timeout is not None:
                await self._timeout.set(identity, group[0].stored, own, delivery.envelope)
            if lost:
                for record in await self._stuck.end(own.key.trace):
                    hints.send(self._log, delivery.envelope.client, record)
            if len(arrivals) > _MANY:
                took = self._clock.monotonic() - started
                seen.pause = min(_LONGEST_PAUSE, _PAUSE_SHARE * took)
            # Last: an input whose look ended in an error has to be looked at again.
            seen.upto = arrivals[-1].stored.sequence
            return None
        self._stand_for(delivery, identity, group)
        await self._take(delivery, group)
        seen.complete.update((arrival.stored.key, delivery.record_key) for arrival in group)
        return delivery

    async def time_out(self, entry: LogDelivery, envelope: Envelope) -> FlowError | None:
        """The time of a group is over, its timer has rung: if it is not complete, it ends.

        Returns:
            The error that it ends with.

        Raises:
            LogError: the log does not answer, or refuses.
        """
        trace = entry.stored.key.trace
        arrivals, _ = await self._arrivals(trace)
        if self._timeout is None or not arrivals:
            return None
        try:
            count = await self._expected(arrivals[0])
        except (MalformedValue, ObjectMissing):
            return None  # each of its inputs ends as a dead letter
        starts = range(0, len(arrivals), count)
        start = next(
            (s for s in starts if derive("join", self._name, s // count) == envelope.input), None
        )
        if start is None:
            return None
        there = arrivals[start : start + count]
        if len(there) < count:
            share = weight.add(arrival.input.share for arrival in there)
            await self._timeout.end(entry, envelope, share, arrived=len(there), expected=count)
        arrived = await self._timeout.arrived(trace, envelope.input)
        if arrived is None:
            return None  # it is complete, perhaps only just
        # Once more: what came before the record was acked as part of a group that is incomplete.
        arrivals, _ = await self._arrivals(trace)
        for number, arrival in enumerate(arrivals[start : start + count]):
            if number < arrived:
                await self._timeout.bury(arrival.stored)
            else:
                late = decode(arrival.stored.data)
                await self._timeout.late(arrival.stored, arrival.input, late)
        return self._timeout.error(envelope.trace, arrived=arrived, expected=count)

    async def _expected(self, arrival: _Arrival) -> int:
        """How many inputs the group of this one has. Raises `MalformedValue`, `ObjectMissing`."""
        if isinstance(self._join.k, int):
            return self._join.k
        output = await self._claims.output(arrival.input.output)
        return self._join.expected(self._codec.unpack_output(output))

    async def _arrivals(self, trace: str) -> tuple[list[_Arrival], bool]:
        """The inputs that are there, and whether a branch of the trace was lost."""
        patterns = [replace(p, trace=trace) for p in self._patterns]
        entries = await self._log.read([*patterns, Pattern(kind=Kind.LOST, trace=trace)])
        lost = any(entry.key.kind is Kind.LOST for entry in entries)
        found = []
        for entry in entries:
            try:
                envelope = decode(entry.data)
            except MalformedEnvelope:  # whoever is handed it buries it; it is nobody's input
                continue
            value = input_for(entry, envelope, self._name)
            if value is not None:
                found.append(_Arrival(entry, value, envelope))
        return found, lost

    async def _take(self, delivery: DurableDelivery, group: list[_Arrival]) -> None:
        """Read the values of a complete group."""
        delivery.joined = [(a.stored, a.envelope) for a in group]
        size = sum(claimed_size(arrival.input.output) for arrival in group)
        if size:
            await self._claims.hold(delivery, size)
        outputs = (await self._claims.output(arrival.input.output) for arrival in group)
        delivery.value = joined([self._codec.unpack_output(output) async for output in outputs])

    def _stand_for(self, delivery: DurableDelivery, identity: str, group: list[_Arrival]) -> None:
        delivery.input_id = identity
        delivery.share = weight.add(a.input.share for a in group)
        trace = delivery.log_delivery.stored.key.trace
        delivery.record_key = record_key(trace, self._token, delivery.input_id)


async def _pass_on(message: Any, ctx: Any) -> Any:
    return message


def passing(node: Node) -> Node:
    """What a worker runs for a join node whose message is joined already."""
    return Node(_pass_on, name=node.name, policy=NodePolicy(validate="none"))
