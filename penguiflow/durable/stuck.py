"""Joins that can never be complete, because a branch before them was lost.

The shares of a trace add up to its submissions. When what has ended and what waits in joins is all
there is, nothing more can arrive: the joins that wait end with a failure that says so. It is
looked for only in traces in which a branch ended without a result.
"""

from __future__ import annotations

import contextlib

from penguiflow.durable import weight
from penguiflow.durable.arrivals import Arrival, arrivals_of, groups_of
from penguiflow.durable.claims import Claims, ObjectMissing
from penguiflow.durable.codec import MalformedValue, ValueCodec
from penguiflow.durable.envelope import FAILED, VERSION, Envelope, encode
from penguiflow.durable.inputs import returned
from penguiflow.durable.ledger import Books
from penguiflow.durable.log import AlreadyCommitted, InputGone, Kind, Log, Stored
from penguiflow.durable.tokens import derive
from penguiflow.durable.topology import Topology, everything, lost_key, record_key
from penguiflow.telemetry.instrument import Append, FlowInstrument


class StuckJoins:
    """Ends the joins of one flow that wait in vain."""

    def __init__(
        self,
        log: Log,
        topology: Topology,
        codec: ValueCodec,
        claims: Claims,
        *,
        worker: str,
        probe: FlowInstrument | None = None,
    ) -> None:
        self._log = log
        self._claims = claims
        self._codec = codec
        self._topology = topology
        self._worker = worker
        self._probe = probe
        self._joins = {
            str(node.name): node.join for node in topology.graph.nodes if node.join is not None
        }

    @property
    def any(self) -> bool:
        """Whether the flow has joins at all."""
        return bool(self._joins)

    async def branch_lost(self, record: Stored, envelope: Envelope) -> list[Stored]:
        """A branch ended without a result: remember it, and end joins that wait for it.

        Returns:
            The records that ended a join.

        Raises:
            LogError: the log does not answer.
        """
        marker = Envelope(
            v=VERSION,
            tenant=envelope.tenant,
            flow=envelope.flow,
            trace=envelope.trace,
            node=envelope.node,
            outcome=envelope.outcome,
        )
        with contextlib.suppress(AlreadyCommitted):
            await self._log.append(lost_key(record.key.trace), encode(marker))
        return await self.end(record.key.trace)

    async def end(self, trace: str) -> list[Stored]:
        """End the joins of a trace, if nothing more can arrive. Raises `LogError`."""
        books = Books.of(trace, await self._log.read(everything(trace)))
        waiting = self._waiting(books)
        for name, arrivals in waiting.items():
            if await self._is_complete(name, arrivals):
                return []  # it is about to be committed
        shares = [a.share for arrivals in waiting.values() for _, a in arrivals]
        for entry in books.entries:
            if entry.envelope is not None and not entry.stored.key.kind.is_marker:
                share = returned(entry.stored, entry.envelope)
                if share is not None:
                    shares.append(share)
        if not waiting or not weight.is_whole(weight.add(shares), books.submissions):
            return []
        ended = [await self._fail(trace, name, arrivals) for name, arrivals in waiting.items()]
        return [record for record in ended if record is not None]

    def _waiting(self, books: Books) -> dict[str, list[tuple[int, Arrival]]]:
        """The inputs of joins that are in no committed group, with the number of their group."""
        found: dict[str, list[tuple[int, Arrival]]] = {}
        records = [
            e.envelope
            for e in books.entries
            if e.stored.key.kind is Kind.RECORD and e.envelope is not None
        ]
        arrivals = [a for a in arrivals_of(books.entries) if a.node in self._joins]
        for name in self._joins:
            own = [a for a in arrivals if a.node == name]
            groups = groups_of(name, own, [r for r in records if r.node == name])
            left = [a for a in own if a.input not in groups.covered | groups.late]
            if left:
                found[name] = [(len(groups.records), a) for a in left]
        return found

    async def _is_complete(self, name: str, arrivals: list[tuple[int, Arrival]]) -> bool:
        """Whether the inputs that wait make a group."""
        envelope = arrivals[0][1].entry.envelope
        assert envelope is not None  # noqa: S101 - an arrival was read
        join = self._joins[name]
        if isinstance(join.k, int):
            return len(arrivals) >= join.k
        try:
            value = self._codec.unpack_output(await self._claims.output(envelope.outputs[0]))
        except (MalformedValue, ObjectMissing):
            return False
        return len(arrivals) >= join.expected(value)

    async def _fail(
        self, trace: str, name: str, arrivals: list[tuple[int, Arrival]]
    ) -> Stored | None:
        index, last = arrivals[-1]
        envelope = last.entry.envelope
        assert envelope is not None  # noqa: S101 - an arrival was read
        identity = derive("join", name, index)
        text = f"join {name!r} has {len(arrivals)} messages and waits for a branch that was lost"
        record = Envelope(
            v=VERSION,
            tenant=envelope.tenant,
            flow=envelope.flow,
            trace=envelope.trace,
            node=name,
            input=identity,
            outcome=FAILED,
            weight=weight.add(a.share for _, a in arrivals),
            client=envelope.client,
            error={"code": "JOIN_INCOMPLETE", "message": text, "node_name": name},
            worker=self._worker,
            traceparent=envelope.traceparent,
            tracestate=envelope.tracestate,
        )
        append: Append = self._log.append
        if self._probe is not None:
            append, record = self._probe.sending(None, record, append)
        key, data = record_key(trace, self._topology.tokens[name], identity), encode(record)
        try:
            sequence = await append(key, data, after=last.entry.stored.position)
        except (AlreadyCommitted, InputGone):
            return None
        return Stored(key, sequence, 0.0, data)
