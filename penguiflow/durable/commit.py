"""Commits results: one record per input, outputs derived from the record."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from penguiflow.clock import Clock
from penguiflow.durable import hints, weight
from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.dead_letters import DeadLetter, DeadLetters, Reason
from penguiflow.durable.delivery import DurableDelivery
from penguiflow.durable.envelope import (
    DEAD,
    EGRESS,
    EXPIRED,
    FAILED,
    OK,
    VERSION,
    Envelope,
    Output,
    decode,
    encode,
)
from penguiflow.durable.inputs import returned
from penguiflow.durable.log import (
    AlreadyCommitted,
    EntryTooLarge,
    InputGone,
    Key,
    Kind,
    Log,
    Position,
    Stored,
)
from penguiflow.durable.stuck import StuckJoins
from penguiflow.durable.topology import Topology, output_id
from penguiflow.errors import FlowError
from penguiflow.invocation import Invocation
from penguiflow.telemetry.instrument import Append, Bury, FlowInstrument
from penguiflow.types import Message

_STREAM_WINDOW = 64
"""Chunks of one run that are on their way at once."""
_EXPANSION_WINDOW = 128
"""Outputs of one record that are written at once."""


@dataclass(slots=True)
class Emitted:
    """A value that a node emitted, and for whom."""

    value: Any
    targets: tuple[str, ...]
    due: float | None = None
    """When it is delivered, by the log's clock."""


class Commit:
    """Writes the records of one worker process."""

    def __init__(
        self,
        log: Log,
        topology: Topology,
        codec: ValueCodec,
        dead_letters: DeadLetters,
        *,
        worker: str,
        emits_errors: bool,
        clock: Clock,
        probe: FlowInstrument | None = None,
    ) -> None:
        self._log = log
        self._topology = topology
        self._codec = codec
        self._dead_letters = dead_letters
        self._worker = worker
        self._emits_errors = emits_errors
        self._clock = clock
        self._probe = probe
        self._stuck = StuckJoins(log, topology, codec, worker=worker, probe=probe)

    async def result(self, delivery: DurableDelivery, run: Invocation, outcome: str = OK) -> None:
        """Commit what the run emitted; returns when all of it is visible downstream.

        Raises:
            InputGone: the input's trace was cancelled or removed; nothing was written.
            LogFull: no room; nothing was written.
            EntryTooLarge, NotEncodable: the result cannot be sent; nothing was written.
        """
        while run.streamed:
            await run.streamed.popleft()
        trace, pack = delivery.envelope.trace, self._codec.pack_output
        outputs = tuple(
            [
                pack(e.value, e.targets, trace)
                if e.due is None
                else msgspec.structs.replace(pack(e.value, e.targets, trace), due=e.due)
                for e in run.outputs
                if e.targets
            ]
        )
        await self._append(delivery, self._record(delivery, run, outcome, outputs, None))

    async def failure(self, delivery: DurableDelivery, run: Invocation, error: FlowError) -> None:
        """Commit that the node failed for good, and bury its input. Raises as `result`."""
        outputs: tuple[Output, ...] = ()
        if self._emits_errors:
            trace = delivery.envelope.trace
            outputs = (self._codec.pack_output(error, (EGRESS,), trace),)
        envelope = self._record(delivery, run, FAILED, outputs, error.to_payload())
        await self._append(delivery, envelope)

    def _record(
        self,
        delivery: DurableDelivery,
        run: Invocation,
        outcome: str,
        outputs: tuple[Output, ...],
        error: dict[str, Any] | None,
    ) -> Envelope:
        incoming = delivery.envelope
        node = run.node.name or ""
        duration = self._clock.monotonic() - run.started if run.started else 0.0
        return Envelope(
            v=VERSION,
            tenant=incoming.tenant,
            flow=incoming.flow,
            trace=incoming.trace,
            node=node,
            input=delivery.input_id,
            outcome=outcome,
            outputs=outputs,
            expanded=self._needs_expansion(node, outputs),
            weight=delivery.share,
            client=incoming.client,
            error=error,
            worker=self._worker,
            attempt=delivery.attempt,
            delivered=delivery.log_delivery.num_delivered,
            started=self._clock.now() - duration,
            duration=duration,
            traceparent=incoming.traceparent,
            tracestate=incoming.tracestate,
        )

    def _needs_expansion(self, node: str, outputs: Sequence[Output]) -> bool:
        """Whether the successors cannot read the record itself: several outputs, or a target
        that does not consume this node's records, or it is for later."""
        if len(outputs) != 1:
            return len(outputs) > 1
        if outputs[0].due is not None:
            return True
        targets = outputs[0].targets
        known = self._topology.successors(node)
        return targets is not known and not set(targets) <= set(known)

    async def _append(self, delivery: DurableDelivery, envelope: Envelope) -> None:
        if envelope.expanded:
            _share(envelope)  # what cannot be split must not be committed
        append: Append = self._log.append
        if self._probe is not None:
            append, envelope = self._probe.sending(delivery.span, envelope, append)
        key, data = delivery.record_key, encode(envelope)
        after = delivery.log_delivery.stored.position
        try:
            sequence = await append(key, data, after=after)
        except AlreadyCommitted:
            stored = await self._log.get(key)
            if stored is None:
                raise InputGone from None
            await self.finish(delivery, stored)
            return
        record = Stored(key, sequence, envelope.started, data)
        if envelope.outcome == OK and not envelope.expanded and envelope.outputs:
            if returned(record, envelope) is not None:
                hints.send(self._log, envelope.client, record)
            return
        await self._spread(delivery, record, envelope)

    async def finish(self, delivery: DurableDelivery, record: Stored) -> None:
        """Repeat what may be left to do for a record that is committed already."""
        await self._spread(delivery, record, decode(record.data))

    async def _spread(self, delivery: DurableDelivery, record: Stored, envelope: Envelope) -> None:
        if envelope.outcome in (FAILED, DEAD):
            await self._bury(delivery, envelope)
        if envelope.expanded:
            await self._expand(record.position, envelope)
        elif returned(record, envelope) is not None:
            hints.send(self._log, envelope.client, record)
        if self._stuck.any and envelope.weight != weight.WHOLE and self._leaves(envelope):
            for ended in await self._stuck.branch_lost(record, envelope):
                hints.send(self._log, envelope.client, ended)

    def _leaves(self, envelope: Envelope) -> bool:
        """Whether a branch ends here, or leaves the flow's edges, so that joins behind wait in
        vain."""
        if not envelope.outputs or envelope.outcome == EXPIRED:
            return True
        if EGRESS in self._topology.successors(envelope.node):
            return False
        return any(EGRESS in output.targets for output in envelope.outputs)

    async def _bury(self, delivery: DurableDelivery, envelope: Envelope) -> None:
        if delivery.log_delivery.stored.key.kind is Kind.TIMER:
            return  # a join's timeout: its inputs are buried, see `DurableJoin`
        error = envelope.error or {}
        letter = DeadLetter(
            stored=delivery.log_delivery.stored,
            node=envelope.node,
            reason=_reason(envelope),
            detail=str(error.get("message", "")),
            deliveries=envelope.delivered,
            worker=envelope.worker,
        )
        bury: Bury = self._dead_letters.bury
        if self._probe is not None:
            bury = self._probe.burying(delivery.span, envelope.traceparent, bury)
        await bury(letter)

    async def _expand(self, record: Position, envelope: Envelope) -> None:
        """Write each output of a record as an entry of its own, addressed to one node.

        Keys and shares follow from the record alone, so that a repetition writes the same.
        """
        entries = self._outputs_of(record.key, envelope, _share(envelope))
        for start in range(0, len(entries), _EXPANSION_WINDOW):
            batch = entries[start : start + _EXPANSION_WINDOW]
            await asyncio.gather(*(self._output(record, envelope, *entry) for entry in batch))

    def _outputs_of(
        self, record: Key, envelope: Envelope, share: str
    ) -> list[tuple[Key, Output, str]]:
        entries = []
        for index, output in enumerate(envelope.outputs):
            identity = output_id(record.trace, envelope.node, record.input, index)
            for target in output.targets:
                key = self._topology.output_key(
                    record.trace, target, identity, later=output.due is not None
                )
                entries.append((key, msgspec.structs.replace(output, targets=(target,)), share))
        return entries

    async def _output(
        self, record: Position, envelope: Envelope, key: Key, output: Output, share: str
    ) -> None:
        entry = msgspec.structs.replace(
            envelope, outputs=(output,), expanded=False, weight=share, error=None
        )
        append: Append = self._log.append
        if self._probe is not None:
            append, entry = self._probe.sending(None, entry, append)
        data = encode(entry)
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

    async def dead(
        self, delivery: DurableDelivery, run_node: str, reason: Reason, detail: str
    ) -> None:
        """Commit that an input is not tried any more, and bury it. Raises as `result`."""
        incoming = delivery.envelope
        envelope = Envelope(
            v=VERSION,
            tenant=incoming.tenant,
            flow=incoming.flow,
            trace=incoming.trace,
            node=run_node,
            input=delivery.input_id,
            outcome=DEAD,
            outputs=(),
            expanded=False,
            weight=delivery.share,
            client=incoming.client,
            error={"code": reason.name, "message": detail},
            worker=self._worker,
            attempt=delivery.attempt,
            delivered=delivery.log_delivery.num_delivered,
            started=self._clock.now(),
            duration=0.0,
            traceparent=incoming.traceparent,
            tracestate=incoming.tracestate,
        )
        await self._append(delivery, envelope)

    async def publish_chunk(self, run: Invocation, message: Message) -> None:
        """Stream a chunk at once; the record waits until it is kept.

        Raises:
            LogError: an earlier chunk of this run could not be kept.
        """
        delivery = delivery_of(run)
        output = self._codec.pack_output(message, (EGRESS,), delivery.envelope.trace)
        data = hints.chunk_of(delivery, run.streamed_count, output)
        run.streamed_count += 1
        if len(run.streamed) >= _STREAM_WINDOW:
            await run.streamed.popleft()
        streaming = self._log.publish_live(delivery.record_key.trace, data)
        run.streamed.append(asyncio.get_running_loop().create_task(streaming))


def _share(envelope: Envelope) -> str:
    """What each target of a record with several outputs carries.

    Raises:
        ValueError: the flow splits too often.
    """
    total = sum(len(output.targets) for output in envelope.outputs)
    return weight.split(envelope.weight, total)


def _reason(envelope: Envelope) -> Reason:
    """Why the input of a failed or dead record is buried."""
    error = envelope.error or {}
    if envelope.outcome == DEAD:
        return Reason[str(error.get("code", Reason.POISON.name))]
    too_large = error.get("exception_type") == EntryTooLarge.__name__
    return Reason.TOO_LARGE if too_large else Reason.FAILED


def delivery_of(run: Invocation) -> DurableDelivery:
    """The delivery of a durable run."""
    delivery = run.delivery
    assert isinstance(delivery, DurableDelivery)  # noqa: S101 - only a durable worker gets here
    return delivery
