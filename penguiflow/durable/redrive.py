"""Redrive: dead letters are submitted again, each once, whatever dies in between.

1. The old input gets a record, if it has none yet: its branch of the old trace ends.
2. The unit is claimed. Of two redrives of a letter one gets it.
3. The submission is written. It is not for any node yet.
4. The journal notes which submission counts. What was written under another one is refused.
5. The inputs of nodes are written, each only while that submission is in the log.
6. The letters are removed.

The new trace cannot be complete before the last input is written, so it cannot be removed before
step 4. Whoever completes a redrive that was cut off therefore knows: as long as step 4 is not
done nothing ran, and afterwards a submission that is gone has run to its end.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import msgspec

from penguiflow.clock import SYSTEM_CLOCK, Clock
from penguiflow.durable.audit import outputs_of
from penguiflow.durable.claims import Claims, claimed_size
from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.dead_letters import Buried, Selection
from penguiflow.durable.envelope import DEAD, VERSION, WITH_CLAIMS, Envelope, decode, encode
from penguiflow.durable.ledger import Books
from penguiflow.durable.log import (
    AlreadyCommitted,
    InputGone,
    Key,
    Kind,
    Log,
    Position,
    Stored,
    TraceEnded,
)
from penguiflow.durable.redrive_journal import RedriveJournal, Unit
from penguiflow.durable.redrive_plan import (
    RedrivePlan,
    Wish,
    input_of,
    joins_after,
    plan_trace,
    traceparent_in,
)
from penguiflow.durable.stuck import StuckJoins
from penguiflow.durable.tokens import trace_token
from penguiflow.durable.topology import Topology, end_key, everything, lost_key
from penguiflow.telemetry.instrument import Append, FlowPlace, Instrument


class Redriven(StrEnum):
    """What became of a plan."""

    SUBMITTED = "submitted"
    """A new trace carries the work."""
    COMPLETED = "completed"
    """A redrive that was cut off was seen through; its trace carries the work."""
    REMOVED = "removed"
    """The node had answered the input already; only the letter was removed."""
    CANCELLED = "cancelled"
    """The new trace was cancelled, so its work is not wanted; the letter was removed."""
    TAKEN = "taken"
    """Somebody else redrives the trace at this moment; look again."""
    REFUSED = "refused"
    """Nothing was done; the plan says why."""


@dataclass(frozen=True, slots=True)
class Redrive:
    """A plan that was carried out."""

    plan: RedrivePlan
    outcome: Redriven


class TraceInUse(ValueError):
    """The trace id that the redrive was to have belongs to another trace already."""


class Redriver:
    """Redrives dead letters of one flow.

    Attributes:
        letters: The tenant's dead letters: `scan` lists and `remove` removes them.
        codec: Packs another value for a letter: `codec.pack_output(value, (node,), trace)`.

    Args:
        log: The flow's log.
        letters: The tenant's dead letters.
        topology: The flow as it is now.
        codec: The flow's.
        by: Who redrives; written down with each redrive.
        telemetry: Observes what is submitted.
    """

    def __init__(
        self,
        log: Log,
        letters: RedriveJournal,
        topology: Topology,
        codec: ValueCodec,
        *,
        by: str = "redrive",
        clock: Clock = SYSTEM_CLOCK,
        telemetry: Instrument | None = None,
    ) -> None:
        self._log = log
        self.letters: RedriveJournal = letters
        self.codec: ValueCodec = codec
        self._topology = topology
        self._claims = Claims(log, clock=clock)
        self._stuck = StuckJoins(log, topology, codec, self._claims, worker=by)
        self._by = by
        self._clock = clock
        place = FlowPlace(
            flow=log.flow,
            instance=by,
            tenant=log.tenant,
            system=log.system,
            now=log.server_time,
            server=log.server,
        )
        self._probe = None if telemetry is None else telemetry.flow(place)

    async def plan(self, selection: Selection, wish: Wish | None = None) -> list[RedrivePlan]:
        """What would be done; changes nothing.

        Args:
            selection: Which letters; those of other flows are left out.
            wish: How, beyond submitting what is in the letter.

        Raises:
            TraceInUse: the wished id is another trace's, or several traces would share it.
            LogError: the log or the dead letters cannot be read.
        """
        wish = wish or Wish(tenant=self._log.tenant, by=self._by)
        own = replace(selection, flow=self._log.flow)
        by_trace: defaultdict[str, list[Buried]] = defaultdict(list)
        async for buried in self.letters.scan(own):
            by_trace[buried.letter.stored.key.trace].append(buried)
        plans: list[RedrivePlan] = []
        for trace, letters in by_trace.items():
            plans += await self._plan_trace(trace, letters, wish)
        if wish.trace_id is not None:
            await self._check_free(wish.trace_id, plans)
        return plans

    async def _plan_trace(
        self, trace: str, letters: Sequence[Buried], wish: Wish
    ) -> list[RedrivePlan]:
        units = await self.letters.units(self._log.flow, trace)
        books = Books.of(trace, await self._log.read(everything(trace)))
        plans = list(plan_trace(letters, units, books, self._topology, wish))
        if self._stuck.any:
            there = [b.id async for b in self.letters.scan(Selection(flow=self._log.flow))
                     if b.letter.stored.key.trace == trace]  # fmt: skip
            more = len(set(there) - {each.id for each in letters})
            if more:
                text = f"{more} more dead letters of the trace are not among those selected"
                plans = [replace(p, note=f"{p.note}; {text}" if p.note else text) for p in plans]
        return plans

    async def _check_free(self, trace_id: str, plans: Sequence[RedrivePlan]) -> None:
        new = [p for p in plans if p.unit is not None and not p.resumed]
        if len(new) > 1:
            msg = f"{len(new)} redrives cannot share trace id {trace_id!r}; choose one letter"
            raise TraceInUse(msg)
        if new and await self._log.read(everything(trace_token(trace_id))):
            msg = f"trace id {trace_id!r} is in use; a redrive needs a new one"
            raise TraceInUse(msg)

    async def redrive(
        self, plans: Sequence[RedrivePlan], *, rate: float | None = None
    ) -> AsyncIterator[Redrive]:
        """Carry plans out, one after the other.

        Args:
            plans: As `plan` made them.
            rate: New traces a second, at most.

        Raises:
            EntryTooLarge: the submission does not fit into the log.
            ObjectMissing: a value was large, and the object that held it is gone.
            LogError: the log or the dead letters do not answer; a repeated call goes on.
        """
        last: float | None = None
        for plan in plans:
            if plan.unit is not None and rate is not None and last is not None:
                await self._clock.sleep(last + 1 / rate - self._clock.monotonic())
            if plan.unit is not None:
                last = self._clock.monotonic()
            yield Redrive(plan, await self._carry_out(plan))

    async def _carry_out(self, plan: RedrivePlan) -> Redriven:
        if plan.refused:
            return Redriven.REFUSED
        if plan.answered:
            outcome = Redriven.REMOVED
        else:
            assert plan.unit is not None  # noqa: S101 - else it is refused or answered
            if not plan.resumed:
                for buried in plan.letters:
                    await self._end_old(buried)
                if not await self.letters.claim(self._log.flow, plan.unit):
                    return Redriven.TAKEN
            begun = await self._submit(plan.unit, plan.letters)
            outcome = Redriven.COMPLETED if plan.resumed else Redriven.SUBMITTED
            outcome = outcome if begun else Redriven.CANCELLED
        for buried in plan.letters:
            await self.letters.remove(buried)
        return outcome

    async def _end_old(self, buried: Buried) -> None:
        """An entry that nobody could read ended no branch; now it does."""
        opened = input_of(buried, self._topology)
        if opened is None:
            return
        incoming, found, key = opened
        record = Envelope(
            v=VERSION,
            tenant=incoming.tenant,
            flow=incoming.flow,
            trace=incoming.trace,
            node=buried.letter.node,
            input=found.input_id,
            outcome=DEAD,
            weight=found.share,
            client=incoming.client,
            error={"code": buried.letter.reason.name, "message": buried.letter.detail},
            worker=self._by,
        )
        data = encode(record)
        try:
            sequence = await self._log.append(key, data, after=buried.letter.stored.position)
        except (AlreadyCommitted, InputGone):
            return
        if self._stuck.any:
            await self._stuck.branch_lost(Stored(key, sequence, 0.0, data), record)

    async def _submit(self, unit: Unit, letters: Sequence[Buried]) -> bool:
        """Steps 3 to 5; False when the new trace was cancelled."""
        trace = trace_token(unit.new_trace)
        envelope = await self._adopted(trace, decode(unit.entry), copy=not unit.started)
        key = Key(Kind.INGRESS, trace, input=envelope.input)
        counts = unit.started
        if counts:
            stored = await self._log.get(key)
            envelope = envelope if stored is None else _following(stored, envelope)
        else:
            append: Append = self._log.append
            if self._probe is not None:
                dead = [text for each in letters if (text := traceparent_in(each)) is not None]
                append, envelope = self._probe.emitting(envelope, append, redrives=dead)
            try:
                sequence = await append(key, encode(envelope), absent=end_key(trace))
            except TraceEnded:
                return False
            except AlreadyCommitted:
                stored = await self._log.get(key)
                if stored is None:  # another one completed it, and it is over
                    return True
                sequence, envelope = stored.sequence, _following(stored, envelope)
            counts = await self.letters.start(self._log.flow, unit, sequence)
            if counts != sequence:
                await self._withdraw(key, sequence)
        await self._expand(unit, envelope, Position(key, counts))
        return True

    async def _adopted(self, trace: str, envelope: Envelope, *, copy: bool) -> Envelope:
        """The submission with objects of its own: those of the old trace go with that."""
        if not any(claimed_size(output) for output in envelope.outputs):
            return envelope
        outputs = [await self._claims.adopt(trace, o, copy=copy) for o in envelope.outputs]
        return msgspec.structs.replace(envelope, v=WITH_CLAIMS, outputs=tuple(outputs))

    async def _withdraw(self, key: Key, sequence: int) -> None:
        """Another redrive was faster and its trace is over: ours must not look like one."""
        entries = await self._log.read(everything(key.trace))
        if [e.sequence for e in entries if not e.key.kind.is_marker] == [sequence]:
            await self._log.purge(key.trace, upto=sequence)

    async def _expand(self, unit: Unit, envelope: Envelope, position: Position) -> None:
        graph = self._topology.graph
        if any(joins_after(graph, o.targets[0]) for o in envelope.outputs):
            # A join that still misses a branch then ends with a reason, and does not wait.
            marker = Envelope(
                v=VERSION, tenant=envelope.tenant, flow=envelope.flow, trace=unit.new_trace
            )
            with contextlib.suppress(AlreadyCommitted):
                await self._log.append(lost_key(position.key.trace), encode(marker))
        for key, _, entry in outputs_of(position.key, envelope):
            try:
                await self._log.append(key, encode(entry), after=position)
            except AlreadyCommitted:
                continue
            except InputGone:  # it ran to its end, or was cancelled
                return


def _following(stored: Stored, envelope: Envelope) -> Envelope:
    """The envelope with the trace context of the submission that is in the log."""
    there = decode(stored.data)
    return msgspec.structs.replace(
        envelope, traceparent=there.traceparent, tracestate=there.tracestate
    )


__all__ = ["Redrive", "Redriven", "Redriver", "TraceInUse"]
