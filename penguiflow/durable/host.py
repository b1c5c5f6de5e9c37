"""The host of a worker process: runs the nodes of a durable flow over a log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from penguiflow.clock import SYSTEM_CLOCK, Clock
from penguiflow.context import ChunkRequest, Context, Place, Targets, resolve
from penguiflow.controller import Steering
from penguiflow.decide import DONE, Outcome, Settlement
from penguiflow.durable.commit import SPILL, Commit, Emitted, delivery_of
from penguiflow.durable.envelope import EGRESS, EXPIRED
from penguiflow.durable.log import EntryTooLarge, InputGone, Log, LogError, TraceEnded
from penguiflow.durable.running import RunningTraces
from penguiflow.durable.timers import due_in
from penguiflow.durable.tokens import derive
from penguiflow.durable.topology import Topology
from penguiflow.endpoints import ROOKERY
from penguiflow.errors import FlowError
from penguiflow.events import Events, log_event
from penguiflow.invocation import Invocation
from penguiflow.join import Join
from penguiflow.node import Node
from penguiflow.registry import ModelRegistry
from penguiflow.remote_support import RemoteSupport
from penguiflow.telemetry.instrument import FlowInstrument, NodeInstrument
from penguiflow.types import Message, StreamChunk

_HAND_BACK_DELAY = 1.0
"""Seconds until an input whose result the log did not take is tried again."""


class DurableHost(RemoteSupport):
    """Host of the workers and site of the contexts of one durable flow in this process.

    Outputs are held until the node's record is committed; the record is the edge.
    """

    shares_tasks = False

    def __init__(
        self,
        log: Log,
        topology: Topology,
        commit: Commit,
        *,
        events: Callable[[DurableHost], Events],
        registry: ModelRegistry | None,
        instrument: FlowInstrument | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.log = log
        self.topology = topology
        self.registry = registry
        self.clock = clock
        self._commit = commit
        self.instrument = instrument
        self._running = RunningTraces()
        self._graph = topology.graph
        self._places: dict[str, list[Place]] = {
            str(node.name): [*self._graph.successors[node], *self._egress_of(node)]
            for node in self._graph.nodes
        }
        super().__init__(events(self))

    def _egress_of(self, node: Node) -> list[Place]:
        return [ROOKERY] if str(node.name) in self.topology.leaves else []

    # Site of a context

    def places(self, owner: Place) -> Sequence[Place]:
        return self._places[str(owner.name)] if isinstance(owner, Node) else []

    def depths(self, source: Place) -> tuple[int, int, int, int]:
        return 0, 0, len(self.places(source)), 0

    async def send(self, run: Invocation | None, owner: Place, value: Any, to: Targets) -> None:
        self.send_nowait(run, owner, value, to)
        if run is not None and len(run.outputs) >= SPILL:
            await self._commit.spill(run)

    async def send_later(
        self, run: Invocation | None, owner: Place, value: Any, to: Targets, delay: float
    ) -> None:
        assert run is not None  # noqa: S101 - as below
        due = await due_in(self.log, delay)
        run.outputs.append(Emitted(value, self._targets(owner, to), due))

    def send_nowait(self, run: Invocation | None, owner: Place, value: Any, to: Targets) -> None:
        assert run is not None  # noqa: S101 - a durable context exists only within a run
        run.outputs.append(Emitted(value, self._targets(owner, to)))

    def _targets(self, owner: Place, to: Targets) -> tuple[str, ...]:
        assert isinstance(owner, Node)  # noqa: S101 - as above
        if to is None:
            return self.topology.successors(str(owner.name))
        places = self.places(owner)
        if ROOKERY not in places:
            places = [*places, ROOKERY]
        return tuple(
            EGRESS if place is ROOKERY else str(place.name) for place in resolve(owner, places, to)
        )

    async def send_chunk(
        self, run: Invocation | None, owner: Place, chunk: ChunkRequest, to: Targets
    ) -> StreamChunk:
        """A chunk for the egress goes out at once; one for other nodes with the record."""
        assert run is not None  # noqa: S101 - as above
        seq = run.next_chunk(chunk.stream_id, chunk.seq, done=chunk.done)
        piece, message = chunk.numbered(seq)
        targets = self._targets(owner, to)
        others = tuple(target for target in targets if target != EGRESS)
        if others:
            run.outputs.append(Emitted(message, others))
        if EGRESS in targets:
            await self._commit.publish_chunk(run, message)
        return piece

    async def receive(self, owner: Place, from_: Targets) -> Any:
        raise _no_fetch(owner)

    def receive_nowait(self, owner: Place, from_: Targets) -> Any:
        raise _no_fetch(owner)

    def idempotency_key(self, run: Invocation) -> str:
        delivery = delivery_of(run)
        return derive(self.log.tenant, str(run.trace_id), str(run.node.name), delivery.input_id)

    def collect(
        self, run: Invocation | None, owner: Place, trace_id: str, message: Any, join: Join
    ) -> Any:
        msg = "a durable join keeps its state in the log"
        raise RuntimeError(msg)

    # Host of a worker

    def context(self, run: Invocation) -> Context:
        return Context.of_run(run, self, self)

    def loops(self, node: Node) -> bool:
        return str(node.name) in self.topology.successors(str(node.name))

    def probe(self, node: Node) -> NodeInstrument | None:
        return None if self.instrument is None else self.instrument.node(str(node.name))

    def origin(self, run: Invocation) -> Any:
        return None  # the envelope says it

    def now(self) -> float:
        return self.log.server_time()

    def is_cancelled(self, trace_id: str | None) -> bool:
        return self._running.is_cancelled(trace_id)

    def begin(self, run: Invocation) -> None:
        self._running.begin(str(run.trace_id), run)

    async def end(self, run: Invocation) -> None:
        self._running.end(str(run.trace_id), run)

    async def complete(self, run: Invocation, result: Any, steering: Steering | None) -> Outcome:
        if steering is not None:
            self._steer(run, steering)
        elif result is not None:
            targets = self.topology.successors(run.node.name or "")
            run.outputs.append(Emitted(result, targets))
        try:
            await self._commit.result(delivery_of(run), run)
        except LogError as problem:
            return _refused(problem)
        return DONE

    def _steer(self, run: Invocation, steering: Steering) -> None:
        if steering.to_egress is not None:
            run.outputs.append(Emitted(steering.to_egress, (EGRESS,)))
        if steering.to_self is not None:
            run.outputs.append(Emitted(steering.to_self, (str(run.node.name),)))

    async def fail(self, run: Invocation, error: FlowError) -> Outcome:
        try:
            await self._commit.failure(delivery_of(run), run, error)
        except LogError as problem:
            return _refused(problem)
        return DONE

    async def expire(self, run: Invocation, answer: Message) -> Outcome:
        run.outputs, run.spill = [Emitted(answer, (EGRESS,))], None
        try:
            await self._commit.result(delivery_of(run), run, outcome=EXPIRED)
        except LogError as problem:
            return _refused(problem)
        return DONE

    async def drop(self, run: Invocation) -> Outcome:
        return DONE

    # Traces

    def trace_gauges(self, trace_id: str | None) -> tuple[int | None, int, bool]:
        if trace_id is None:
            return None, 0, False
        count = self._running.count(trace_id)
        return count, count, self._running.is_cancelled(trace_id)

    def ensure_trace_event(self, trace_id: str) -> asyncio.Event:
        """The event that a cancel of the trace sets in this process."""
        return self._running.cancel_event(trace_id)

    def cancel_here(self, trace_id: str, by: str | None = None) -> None:
        """Cancel what of the trace runs in this process; `by` is the cancel's trace context."""
        if self.instrument is not None:
            spans = [run.delivery.span for run in self._running.runs(trace_id)]
            self.instrument.cancelled_by(spans, by)
        self._running.cancel(trace_id)

    def running(self) -> list[str]:
        """The traces that something runs for."""
        return self._running.traces()


_GONE = Outcome(Settlement.ACK, reason="input gone")
"""The input was cancelled or removed meanwhile: nothing of this run counts."""


def _refused(problem: LogError) -> Outcome:
    """What a refused commit means to the input.

    A result that is too large is the node's failure: it is raised. A log that does not answer, or
    has no room, is not: the input is handed back and nothing counts.
    """
    if isinstance(problem, EntryTooLarge):
        raise problem
    if isinstance(problem, InputGone | TraceEnded):
        return _GONE
    log_event(logging.ERROR, "commit_handed_back", {"problem": repr(problem)}, problem)
    return Outcome(Settlement.HAND_BACK, delay=_HAND_BACK_DELAY)


def _no_fetch(owner: Place) -> RuntimeError:
    return RuntimeError(
        f"node {owner.name!r} called ctx.fetch() in a durable flow; its input is delivered one by "
        "one and settled with its result: use join_k, or a node of its own"
    )
