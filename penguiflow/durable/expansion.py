"""Writes the outputs of a committed record as entries of their own, from the record alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from penguiflow.durable import hints, weight
from penguiflow.durable.claims import Claims, ObjectMissing, batches, claimed_size
from penguiflow.durable.dead_letters import Reason
from penguiflow.durable.delivery import DurableDelivery
from penguiflow.durable.envelope import (
    DEAD,
    EGRESS,
    VERSION,
    WITH_CLAIMS,
    Envelope,
    Output,
    Part,
    encode,
)
from penguiflow.durable.log import (
    AlreadyCommitted,
    Key,
    Kind,
    Log,
    LogUnavailable,
    Pattern,
    Position,
    Stored,
)
from penguiflow.durable.topology import Topology, output_id
from penguiflow.telemetry.instrument import Append, FlowInstrument

_WINDOW: Final = 128
"""Outputs of one record that are written at once."""
_ROUNDS: Final = 3
"""How often all that is left of them may be refused, before the rest is left to a repetition."""


class Expansion:
    """Makes the outputs of records visible to those whom they are addressed to.

    Args:
        bury: Keeps the input of a record whose outputs are lost as a dead letter.
        probe: Observes what is written.
    """

    def __init__(
        self,
        log: Log,
        topology: Topology,
        claims: Claims,
        *,
        bury: Callable[[DurableDelivery, Envelope], Awaitable[None]],
        probe: FlowInstrument | None = None,
    ) -> None:
        self._log = log
        self._topology = topology
        self._claims = claims
        self._bury = bury
        self._probe = probe

    async def write(
        self, delivery: DurableDelivery | None, record: Position, envelope: Envelope
    ) -> None:
        """Write each output of a record as an entry of its own, addressed to one node.

        Keys and shares follow from the record alone, so that a repetition writes the same.

        Args:
            delivery: The input that it answers; None for who does not hold it.
            record: Where the record lies.
            envelope: What it says.

        Raises:
            LogError: an entry could not be written; a repetition goes on.
        """
        share = share_of_outputs(envelope)
        entry = msgspec.structs.replace(
            envelope, v=VERSION, outputs=(), parts=(), expanded=False, weight=share, error=None
        )
        async for first, outputs in batches(self._claims, envelope, _WINDOW):
            if isinstance(outputs, Part):
                if delivery is None:
                    raise LogUnavailable(str(ObjectMissing(outputs.name)))
                await self._part_lost(delivery, record, entry, outputs)
                continue
            await self._batch(record, entry, self._outputs_of(record.key, envelope, first, outputs))

    async def _batch(
        self, record: Position, entry: Envelope, outputs: Sequence[tuple[Key, Output]]
    ) -> None:
        """Write these at once, and again those that the log did not answer for.

        On a bad line some of many fail nearly always: were all of them left to the next delivery
        of the input, it would begin with as many, and never come to the end.
        """
        rounds = 0
        while outputs:
            writing = (self._output(record, entry, *one) for one in outputs)
            ends = await asyncio.gather(*writing, return_exceptions=True)
            problems = [end for end in ends if end is not None]
            for problem in problems:
                if not isinstance(problem, LogUnavailable):
                    raise problem
            rounds += len(problems) == len(outputs)
            if rounds == _ROUNDS:
                raise problems[0]
            outputs = [one for one, end in zip(outputs, ends, strict=True) if end is not None]

    def _outputs_of(
        self, record: Key, envelope: Envelope, first: int, outputs: Sequence[Output]
    ) -> list[tuple[Key, Output]]:
        entries = []
        for index, output in enumerate(outputs, first):
            identity = output_id(record.trace, envelope.node, record.input, index)
            for target in output.targets:
                key = self._topology.output_key(
                    record.trace, target, identity, later=output.due is not None
                )
                entries.append((key, msgspec.structs.replace(output, targets=(target,))))
        return entries

    async def _part_lost(
        self, delivery: DurableDelivery, record: Position, entry: Envelope, part: Part
    ) -> None:
        """End the branches of outputs that are gone, so that the trace does not wait for them."""
        problem = str(ObjectMissing(part.name))
        error = {"code": Reason.OBJECT_MISSING.name, "message": problem, "node_name": entry.node}
        identities = [
            output_id(record.key.trace, entry.node, record.key.input, part.first + index)
            for index in range(part.count)
        ]
        written = await self._written(record.key.trace, frozenset(identities))
        if written == part.targets:
            return
        total = weight.add([entry.weight] * (part.targets - written))
        lost = msgspec.structs.replace(entry, outcome=DEAD, weight=total, error=error)
        await self._bury(delivery, lost)
        key, data = self._topology.output_key(record.key.trace, EGRESS, identities[0]), encode(lost)
        with contextlib.suppress(AlreadyCommitted):
            sequence = await self._log.append(key, data, after=record)
            hints.send(self._log, entry.client, Stored(key, sequence, entry.started, data))

    async def _written(self, trace: str, identities: frozenset[str]) -> int:
        """How many of these outputs are in the log."""
        kinds = (Kind.OUTPUT, Kind.TIMER)
        entries = await self._log.read([Pattern(kind=kind, trace=trace) for kind in kinds])
        return len({(e.key.node, e.key.input) for e in entries if e.key.input in identities})

    async def _output(self, record: Position, entry: Envelope, key: Key, output: Output) -> None:
        envelope = msgspec.structs.replace(
            entry, outputs=(output,), v=WITH_CLAIMS if claimed_size(output) else VERSION
        )
        append: Append = self._log.append
        if self._probe is not None:
            append, envelope = self._probe.sending(None, envelope, append)
        data = encode(envelope)
        if len(data) > self._log.inline_bytes:
            envelope, data = await self._claims.fit(key.trace, envelope)
        try:
            sequence = await append(key, data, after=record)
        except AlreadyCommitted:
            if EGRESS not in output.targets:
                return
            stored = await self._log.get(key)
        else:
            stored = Stored(key, sequence, envelope.started, data)
        if stored is not None and EGRESS in output.targets and output.due is None:
            hints.send(self._log, envelope.client, stored)


def share_of_outputs(envelope: Envelope) -> str:
    """What each target of a record with several outputs carries.

    Raises:
        ValueError: the flow splits too often.
    """
    total = sum(len(output.targets) for output in envelope.outputs)
    total += sum(part.targets for part in envelope.parts)
    return weight.split(envelope.weight, total)
