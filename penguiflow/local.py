"""The local host: runs nodes over edges in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from penguiflow.clock import Clock
from penguiflow.context import NO_MESSAGES, ChunkRequest, Context, Place, Targets
from penguiflow.controller import Steering, hops_of
from penguiflow.decide import DONE, Outcome
from penguiflow.durable.tokens import derive
from penguiflow.edges import Edges
from penguiflow.endpoints import ROOKERY
from penguiflow.errors import FlowError
from penguiflow.events import Events
from penguiflow.floe import Floe, Item, trace_of
from penguiflow.graph import Graph
from penguiflow.invocation import Invocation
from penguiflow.join import Join
from penguiflow.local_cancel import LocalCancel
from penguiflow.local_joins import LocalJoins
from penguiflow.local_timers import LocalTimers
from penguiflow.memory.loop import turn
from penguiflow.mirror import MirrorBus
from penguiflow.node import Node
from penguiflow.node_loop import NodeLoop
from penguiflow.registry import ModelRegistry
from penguiflow.round_trip import RoundTrips
from penguiflow.telemetry.instrument import FlowInstrument, Instrument, NodeInstrument
from penguiflow.traces import Traces
from penguiflow.types import WM, Message, StreamChunk


class LocalHost:
    """Host of the workers and site of the contexts of one local flow."""

    shares_tasks = True

    def __init__(
        self,
        graph: Graph,
        *,
        owner: Any,
        queue_maxsize: int,
        mirror: MirrorBus | None,
        emits_errors: bool,
        clock: Clock,
    ) -> None:
        self.graph = graph
        self.clock = clock
        self.time: Callable[[], float] | None = None
        """Whose time deadlines are judged by, where it is not the clock's: a subflow's is that of
        the flow around it."""
        self.registry: ModelRegistry | None = None
        self.events: Events
        self.emits_errors = emits_errors
        self.running: bool = False
        self.traces: Traces = Traces()
        self.edges: Edges = Edges(graph, self.traces, queue_maxsize)
        self.round_trips: RoundTrips = RoundTrips(
            self.traces, self.edges.egress, lambda: self.running
        )
        self.canceller: LocalCancel = LocalCancel(self)
        self.timers: LocalTimers = LocalTimers(clock)
        self.joins: LocalJoins = LocalJoins(self)
        self.mirror = mirror
        self.failure_callbacks: list[Callable[[FlowError], None]] = []
        self.depths: Callable[[Place], tuple[int, int, int, int]] = self.edges.depths
        self._owner = owner
        self.telemetry: Instrument | None = None
        self.instrument: FlowInstrument | None = None
        self.node_loops: dict[Node, NodeLoop] = {}

    # Life

    def start(self, registry: ModelRegistry | None) -> None:
        """Start a loop per node."""
        self.registry = registry
        self.running = True
        self.node_loops = {n: NodeLoop(self, n, self.edges.inbox(n)) for n in self.graph.nodes}
        for loop in self.node_loops.values():
            loop.start()
        self.timers.start()

    async def stop(self) -> None:
        """Stop the loops; waiting fetches raise."""
        self.running = False
        self.timers.stop()
        await self.joins.stop()
        await asyncio.gather(*(loop.stop() for loop in self.node_loops.values()))
        self.node_loops = {}
        await self.canceller.finish_all()
        self.round_trips.stopped()

    def unfinished(self) -> int:
        """Accepted messages that wait, are in back-off, or are being worked on."""
        waiting = self.edges.depth() + self.timers.messages
        return waiting + sum(loop.unfinished for loop in self.node_loops.values())

    def repeats_hops(self, msg: Any, trace_id: str | None) -> bool:
        """Whether the message is a working memory that the live trace streamed out last."""
        if not (isinstance(msg, Message) and isinstance(msg.payload, WM)):
            return False
        trace = self.traces.get(trace_id)
        return trace is not None and trace.streamed_hops == msg.payload.hops

    # Edges (Site of a Context)

    def places(self, owner: Place) -> Sequence[Place]:
        return self.edges.places(owner)

    async def send(self, run: Invocation | None, owner: Place, value: Any, to: Targets) -> None:
        floes = self.edges.outgoing(owner, to)
        await self.spread(run, floes, value, _trace_of(value, run))

    async def send_later(
        self, run: Invocation | None, owner: Place, value: Any, to: Targets, delay: float
    ) -> None:
        self._hold(run, self.edges.outgoing(owner, to), value, _trace_of(value, run), delay)

    def put(
        self, floes: Sequence[Floe], value: Any, trace_id: str | None, delay: float | None
    ) -> Awaitable[None]:
        """Put a value from outside on edges, now or after a delay."""
        if delay is None:
            return self.spread(None, floes, value, trace_id)
        self._hold(None, floes, value, trace_id, delay)
        return turn()

    def _hold(
        self,
        run: Invocation | None,
        floes: Sequence[Floe],
        value: Any,
        trace_id: str | None,
        delay: float,
    ) -> None:
        """Put a value on edges when its time has come, room or not."""
        origin = None if self.instrument is None else self._origin_of(run, trace_id)
        trace = None if trace_id is None else self.traces.open(trace_id)

        def arrive() -> None:
            for floe in floes:
                if trace is not None:
                    trace.pending -= 1  # the edge counts it from now on
                floe.queue.add(value, trace_id, origin)
                if self.mirror is not None:
                    self.mirror.publish_soon(floe, value, trace_id)

        self.timers.set(delay, arrive, messages=len(floes), trace=trace)
        if trace is not None:
            trace.pending += len(floes)

    def send_nowait(self, run: Invocation | None, owner: Place, value: Any, to: Targets) -> None:
        trace_id = _trace_of(value, run)
        floes = self.edges.outgoing(owner, to)
        origin = None if self.instrument is None else self._origin_of(run, trace_id)
        if any(floe.queue.is_full(trace_id) for floe in floes):
            raise asyncio.QueueFull
        for floe in floes:
            if self.mirror is not None:  # before the node that gets the value tells it of its own
                self.mirror.publish_soon(floe, value, trace_id)
            floe.queue.add(value, trace_id, origin)

    async def spread(
        self,
        run: Invocation | None,
        floes: Sequence[Floe],
        value: Any,
        trace_id: str | None,
        *,
        ends_run: bool = False,
    ) -> None:
        """Put a value on edges in their order, waiting for room edge by edge.

        What ends a run is put on its edges even when the flow is stopped meanwhile, room or not:
        it is not lost, and the node does not run again for it.
        """
        mirror = self.mirror
        origin = None if self.instrument is None else self._origin_of(run, trace_id)
        for floe in floes:
            queue = floe.queue
            if mirror is not None or queue.is_full(trace_id):
                try:
                    await self._before(run, floe, value, trace_id)
                except asyncio.CancelledError:
                    if run is None or run.cancelled or not ends_run:
                        raise
                    run.interrupted = True
            queue.add(value, trace_id, origin)

    def _origin_of(self, run: Invocation | None, trace_id: str | None) -> Any:
        """What the instrument made of the run that sends, or makes of an emit from outside."""
        if run is not None:
            return run.delivery.span
        return None if self.instrument is None else self.instrument.emitted(trace_id)

    async def _before(
        self, run: Invocation | None, floe: Floe, value: Any, trace_id: str | None
    ) -> None:
        """Wait for room and tell the mirror, which hears of nothing that found no room."""
        if run is not None and run.interrupted:
            return
        await self._wait_for_room(run, floe, trace_id)
        if self.mirror is not None:
            await self.mirror.publish(floe, value, trace_id)
            await self._wait_for_room(run, floe, trace_id)

    async def _wait_for_room(
        self, run: Invocation | None, floe: Floe, trace_id: str | None
    ) -> None:
        if floe.queue.is_full(trace_id):
            if run is not None and floe.target is ROOKERY:
                self._park(run)
            await floe.queue.wait_for_room(trace_id)

    def _park(self, run: Invocation) -> None:
        item = run.delivery
        assert isinstance(item, Item)  # noqa: S101 - a local worker's deliveries are
        self.node_loops[run.node].park(item)

    async def send_chunk(
        self, run: Invocation | None, owner: Place, chunk: ChunkRequest, to: Targets
    ) -> StreamChunk:
        trace_id = chunk.parent.trace_id
        floes = self.edges.outgoing(owner, to)
        if self.edges.maxsize > 0 and self.traces.has_stream(trace_id, chunk.stream_id):
            await self._wait_for_chunk_room(run, trace_id)
        seq = self.traces.next_seq(trace_id, chunk.stream_id, chunk.seq, done=chunk.done)
        piece, message = chunk.numbered(seq)
        await self.spread(run, floes, message, trace_id)
        return piece

    async def _wait_for_chunk_room(self, run: Invocation | None, trace_id: str) -> None:
        """A chatty stream waits for its own reader before it fills the edges of all."""
        trace = self.traces.get(trace_id)
        if trace is None:
            return
        in_work = 1 if run is not None and run.trace_id == trace_id else 0

        def has_room() -> bool:
            return trace.cancelled or trace.pending - in_work < self.edges.maxsize

        if not has_room():
            if run is not None:
                self._park(run)
            await trace.wait_for_room(has_room)

    async def receive(self, owner: Place, from_: Targets) -> Any:
        while (item := self.edges.take_for(owner, from_)) is None:
            await self.edges.wait_for_arrival(owner)
        item.finish()
        return item.value

    def receive_nowait(self, owner: Place, from_: Targets) -> Any:
        item = self.edges.take_for(owner, from_)
        if item is None:
            raise asyncio.QueueEmpty(NO_MESSAGES)
        item.finish()
        return item.value

    def collect(
        self, run: Invocation | None, owner: Place, trace_id: str, message: Any, join: Join
    ) -> Any:
        assert isinstance(owner, Node)  # noqa: S101 - only a node joins
        span = None if run is None or self.instrument is None else run.delivery.span
        return self.joins.collect(owner, trace_id, message, join, span=span)

    # Runs (Host of a Worker)

    def context(self, run: Invocation) -> Context:
        return Context(run.node, self._owner, self, run)

    def loops(self, node: Node) -> bool:
        return node in self.graph.successors[node]

    def probe(self, node: Node) -> NodeInstrument | None:
        return None if self.instrument is None else self.instrument.node(str(node.name))

    def origin(self, run: Invocation) -> Any:
        item = run.delivery
        return item.origin if isinstance(item, Item) else None

    def now(self) -> float:
        return self.clock.now() if self.time is None else self.time()

    def is_cancelled(self, trace_id: str | None) -> bool:
        return self.traces.is_cancelled(trace_id)

    def begin(self, run: Invocation) -> None:
        item = run.delivery
        assert isinstance(item, Item)  # noqa: S101 - a local worker's deliveries are
        if item.trace is not None:
            item.trace.runs.append(run)

    async def end(self, run: Invocation) -> None:
        item = run.delivery
        assert isinstance(item, Item)  # noqa: S101 - as above
        trace = item.trace
        if trace is None:
            return
        trace.runs.remove(run)
        if not trace.pending and not trace.runs:
            if trace.cancelled:
                await self.canceller.finish(trace)
            else:
                self.traces.settle(trace)

    async def complete(self, run: Invocation, result: Any, steering: Steering | None) -> Outcome:
        node, edges = run.node, self.edges
        if steering is None:
            if result is not None:
                trace_id = _trace_of(result, run)
                await self.spread(run, edges.outgoing(node), result, trace_id, ends_run=True)
            return DONE
        if steering.to_egress is not None:
            await self._to_egress(run, steering.to_egress, node)
            self._note_hops(steering.to_egress)
        if steering.to_self is not None:
            again = steering.to_self
            floes = edges.outgoing(node, node)
            await self.spread(run, floes, again, again.trace_id, ends_run=True)
        return DONE

    async def _to_egress(self, run: Invocation | None, value: Any, node: Node) -> None:
        floes = (self.edges.straight(node),)
        await self.spread(run, floes, value, _trace_of(value, run), ends_run=True)

    def _note_hops(self, message: Message) -> None:
        hops = hops_of(message)
        trace = self.traces.get(message.trace_id)
        if hops is not None and trace is not None:
            trace.streamed_hops = hops

    async def fail(self, run: Invocation, error: FlowError) -> Outcome:
        await self.failed(run.node, error, run)
        return DONE

    async def failed(self, node: Node, error: FlowError, run: Invocation | None = None) -> None:
        """Tell whoever wants to know that a node failed for good."""
        for callback in self.failure_callbacks:
            callback(error)
        if self.emits_errors:
            await self._to_egress(run, error, node)

    async def expire(self, run: Invocation, answer: Message) -> Outcome:
        await self._to_egress(run, answer, run.node)
        return DONE

    async def drop(self, run: Invocation) -> Outcome:
        return DONE

    def idempotency_key(self, run: Invocation) -> str:
        return derive(run.trace_id or "", str(run.node.name), run.delivery.input_id)

    # Traces

    def trace_gauges(self, trace_id: str | None) -> tuple[int | None, int, bool]:
        if trace_id is None:
            return None, 0, False
        trace = self.traces.get(trace_id)
        if trace is None:
            return 0, 0, False
        working = 0
        for run in trace.runs:
            working += run.working
        return trace.pending, working, trace.cancelled

    def ensure_trace_event(self, trace_id: str) -> asyncio.Event:
        """The event that a cancel of the trace sets."""
        return self.traces.cancel_event(trace_id)


def _trace_of(value: Any, run: Invocation | None) -> str | None:
    """The trace that a value belongs to: its own, or the one of the run that produced it."""
    trace_id = trace_of(value)
    return run.delivery.trace_id if trace_id is None and run is not None else trace_id
