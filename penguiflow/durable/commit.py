"""Commits results: one record per input, outputs derived from the record."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from penguiflow.clock import Clock
from penguiflow.durable import hints, weight
from penguiflow.durable.claims import (
    Claims,
    Spill,
    size_of,
)
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
    WITH_CLAIMS,
    Envelope,
    EnvelopeTooNew,
    Output,
    decode,
    encode,
)
from penguiflow.durable.expansion import Expansion, share_of_outputs
from penguiflow.durable.inputs import returned
from penguiflow.durable.log import (
    AlreadyCommitted,
    EntryTooLarge,
    InputGone,
    Kind,
    Log,
    LogError,
    LogUnavailable,
    Stored,
)
from penguiflow.durable.stuck import StuckJoins
from penguiflow.durable.topology import Topology
from penguiflow.durable.wire_errors import ValueTooLarge
from penguiflow.errors import FlowError
from penguiflow.invocation import Invocation
from penguiflow.telemetry.instrument import Append, Bury, FlowInstrument
from penguiflow.types import Message

_FITS = 1024
"""Bytes that no log is asked about."""
_STREAM_WINDOW = 64
"""Chunks of one run that are on their way at once."""
SPILL = 256
"""Outputs of one run that are held in memory; more go into objects while the node runs."""


_TOO_LARGE = (EntryTooLarge.__name__, ValueTooLarge.__name__)


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
        claims: Claims,
        probe: FlowInstrument | None = None,
    ) -> None:
        self._log = log
        self._claims = claims
        self._topology = topology
        self._codec = codec
        self._dead_letters = dead_letters
        self._worker = worker
        self._emits_errors = emits_errors
        self._clock = clock
        self._probe = probe
        self._expansion = Expansion(log, topology, claims, bury=self._bury, probe=probe)
        self._stuck = StuckJoins(log, topology, codec, claims, worker=worker, probe=probe)

    async def result(self, delivery: DurableDelivery, run: Invocation, outcome: str = OK) -> None:
        """Commit what the run emitted; returns when all of it is visible downstream.

        Raises:
            InputGone: the input's trace was cancelled or removed; nothing was written.
            LogFull: no room; nothing was written.
            EntryTooLarge, NotEncodable: the result cannot be sent; nothing was written.
        """
        while run.streamed:
            await run.streamed.popleft()
        outputs = tuple(self._packed(run.outputs, delivery.envelope.trace))
        envelope = self._record(delivery, run, outcome, outputs, None)
        if run.spill is not None or len(outputs) > 1:
            envelope = await self._parted(run, envelope)
        await self._append(delivery, envelope)

    def _packed(self, emitted: Sequence[Emitted], trace: str) -> list[Output]:
        pack = self._codec.pack_output
        return [
            pack(e.value, e.targets, trace)
            if e.due is None
            else msgspec.structs.replace(pack(e.value, e.targets, trace), due=e.due)
            for e in emitted
            if e.targets
        ]

    async def spill(self, run: Invocation) -> None:
        """Let go of what a running node emitted; it waits in objects for the record.

        Raises:
            NotEncodable: a value cannot travel.
        """
        delivery = delivery_of(run)
        if run.spill is None:
            run.spill = Spill(self._claims, delivery.record_key.trace)
        emitted, run.outputs = run.outputs, []
        run.spill.add(self._packed(emitted, delivery.envelope.trace))
        with contextlib.suppress(LogError):  # not the node's affair: the commit tries again
            await run.spill.relieve()

    async def _parted(self, run: Invocation, envelope: Envelope) -> Envelope:
        """The record of several outputs, with parts instead when they are too many."""
        spill, few = run.spill, self._log.inline_bytes // 2
        if spill is None:
            if sum(size_of(output) for output in envelope.outputs) < few:
                return envelope
            spill = Spill(self._claims, delivery_of(run).record_key.trace)
        spill.add(envelope.outputs)
        parts, outputs = await spill.finish(inline=few)
        node = run.node.name or ""
        expanded = bool(parts) or self._needs_expansion(node, outputs)
        version = WITH_CLAIMS if parts else VERSION
        return msgspec.structs.replace(
            envelope, v=version, outputs=outputs, parts=parts, expanded=expanded
        )

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
            share_of_outputs(envelope)  # what cannot be split must not be committed
        append: Append = self._log.append
        if self._probe is not None:
            append, envelope = self._probe.sending(delivery.span, envelope, append)
        key, data = delivery.record_key, encode(envelope)
        if len(data) > _FITS and len(data) > self._log.inline_bytes:
            envelope, data = await self._claims.fit(key.trace, envelope)
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
        """Repeat what may be left to do for a record that is committed already.

        Raises:
            LogUnavailable: a newer worker committed it, and only such a one can see it through.
        """
        try:
            envelope = decode(record.data)
        except EnvelopeTooNew as problem:
            msg = f"the record of this input waits for a newer worker: {problem}"
            raise LogUnavailable(msg) from problem
        await self._spread(delivery, record, envelope)

    async def finish_outputs(self, record: Stored) -> None:
        """Write what may be missing of a committed record's outputs, in its holder's place."""
        await self._expansion.write(None, record.position, decode(record.data))

    async def _spread(self, delivery: DurableDelivery, record: Stored, envelope: Envelope) -> None:
        if envelope.outcome in (FAILED, DEAD):
            await self._bury(delivery, envelope)
        if envelope.expanded:
            await self._expansion.write(delivery, record.position, envelope)
        elif returned(record, envelope) is not None:
            hints.send(self._log, envelope.client, record)
        if self._stuck.any and envelope.weight != weight.WHOLE and self._leaves(envelope):
            for ended in await self._stuck.branch_lost(record, envelope):
                hints.send(self._log, envelope.client, ended)

    def _leaves(self, envelope: Envelope) -> bool:
        """Whether a branch ends here, or leaves the flow's edges, so that joins behind wait in
        vain."""
        if not (envelope.outputs or envelope.parts) or envelope.outcome == EXPIRED:
            return True
        if EGRESS in self._topology.successors(envelope.node):
            return False
        if any(part.leaves for part in envelope.parts):
            return True
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

        A chunk that could not be kept is not the node's failure: the commit says so, and the
        input is handed back.
        """
        if len(run.streamed) >= _STREAM_WINDOW:
            oldest = run.streamed[0]
            await asyncio.wait((oldest,))
            if oldest.exception() is not None:
                return  # nothing of this run will count
            run.streamed.popleft()
        delivery = delivery_of(run)
        output = self._codec.pack_output(message, (EGRESS,), delivery.envelope.trace)
        data = hints.chunk_of(delivery, run.streamed_count, output)
        run.streamed_count += 1
        streaming = self._log.publish_live(delivery.record_key.trace, data)
        task = asyncio.get_running_loop().create_task(streaming)
        task.add_done_callback(_retrieve)
        run.streamed.append(task)


def _retrieve(task: asyncio.Task[None]) -> None:
    """Whoever waits for the task hears of its failure; a run that ended otherwise need not."""
    if not task.cancelled():
        task.exception()


def _reason(envelope: Envelope) -> Reason:
    """Why the input of a failed or dead record is buried."""
    error = envelope.error or {}
    if envelope.outcome == DEAD:
        return Reason[str(error.get("code", Reason.POISON.name))]
    too_large = error.get("exception_type") in _TOO_LARGE
    return Reason.TOO_LARGE if too_large else Reason.FAILED


def delivery_of(run: Invocation) -> DurableDelivery:
    """The delivery of a durable run."""
    delivery = run.delivery
    assert isinstance(delivery, DurableDelivery)  # noqa: S101 - only a durable worker gets here
    return delivery
