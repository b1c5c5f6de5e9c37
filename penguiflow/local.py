"""The local host: runs nodes over edges in this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from penguiflow.clock import Clock
from penguiflow.context import ChunkRequest, Context, Place, Targets
from penguiflow.controller import Steering, hops_of
from penguiflow.decide import DONE, Outcome
from penguiflow.durable.tokens import derive
from penguiflow.edges import Edges
from penguiflow.endpoints import OPEN_SEA, ROOKERY
from penguiflow.errors import FlowError
from penguiflow.events import Events
from penguiflow.floe import trace_of, wake
from penguiflow.graph import Graph
from penguiflow.invocation import Invocation
from penguiflow.mirror import MirrorBus
from penguiflow.node import Node
from penguiflow.node_loop import NodeLoop
from penguiflow.registry import ModelRegistry
from penguiflow.round_trip import RoundTrips
from penguiflow.traces import Trace, Traces
from penguiflow.types import WM, Message, StreamChunk


class LocalHost:
    """Host of the workers and site of the contexts of one local flow."""

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
        self.registry: ModelRegistry | None = None
        self.events: Events
        self.emits_errors = emits_errors
        self.traces = Traces()
        self.edges = Edges(graph, self.traces, queue_maxsize)
        self.round_trips = RoundTrips(self.traces, self.edges.egress)
        self.mirror = mirror
        self.failure_callbacks: list[Callable[[FlowError], None]] = []
        self._owner = owner
        self._loops: dict[Node, NodeLoop] = {}

    # Life

    def start(self, registry: ModelRegistry | None) -> None:
        """Start a loop per node."""
        self.registry = registry
        self._loops = {n: NodeLoop(self, n, self.edges.inbox(n)) for n in self.graph.nodes}
        for loop in self._loops.values():
            loop.start()

    async def stop(self) -> None:
        """Stop the loops; waiting fetches raise."""
        await asyncio.gather(*(loop.stop() for loop in self._loops.values()))
        self.round_trips.stopped()

    def unfinished(self) -> int:
        """Accepted messages that wait, are in back-off, or are being worked on."""
        waiting = sum(loop.waiting for loop in self._loops.values())
        running = sum(loop.running for loop in self._loops.values())
        return self.edges.depth() + waiting + running

    def repeats_hops(self, msg: Any, trace_id: str | None) -> bool:
        """Whether the message is a working memory that the live trace streamed out last."""
        if not (isinstance(msg, Message) and isinstance(msg.payload, WM)):
            return False
        trace = self.traces.get(trace_id)
        return trace is not None and trace.streamed_hops == msg.payload.hops

    # Edges (Site of a Context)

    def places(self, owner: Place) -> Sequence[Place]:
        return self.edges.places(owner)

    def depths(self, source: Place) -> tuple[int, int, int, int]:
        return self.edges.depths(source)

    async def send(self, run: Invocation | None, owner: Place, value: Any, to: Targets) -> None:
        trace_id = trace_of(value)
        if trace_id is None and run is not None:
            trace_id = run.trace_id
        await self.spread(run, owner, value, to, trace_id)

    def send_nowait(self, run: Invocation | None, owner: Place, value: Any, to: Targets) -> None:
        trace_id = trace_of(value)
        if trace_id is None and run is not None:
            trace_id = run.trace_id
        floes = self.edges.floes(owner, to)
        if any(self.edges.is_full(floe, trace_id) for floe in floes):
            raise asyncio.QueueFull
        for floe in floes:
            self.edges.put(floe, value, trace_id)
            if self.mirror is not None:
                self.mirror.publish_soon(floe, value, trace_id)

    async def spread(
        self, run: Invocation | None, owner: Place, value: Any, to: Targets, trace_id: str | None
    ) -> None:
        for floe in self.edges.floes(owner, to):
            if self.mirror is not None:
                await self.mirror.publish(floe, value, trace_id)
            if self.edges.is_full(floe, trace_id):
                if run is not None and floe.target is ROOKERY:
                    self._park(run)
                await self.edges.wait_for_room(floe, trace_id)
            self.edges.put(floe, value, trace_id)

    def _park(self, run: Invocation) -> None:
        self._loops[run.node].park(run)

    async def send_chunk(
        self, run: Invocation | None, owner: Place, chunk: ChunkRequest, to: Targets
    ) -> StreamChunk:
        trace_id = chunk.parent.trace_id
        begun = self.traces.has_stream(trace_id, chunk.stream_id)
        if begun and self.edges.maxsize > 0:
            await self._wait_for_chunk_room(run, trace_id)
        seq = self.traces.next_seq(trace_id, chunk.stream_id, chunk.seq, done=chunk.done)
        piece, message = chunk.numbered(seq)
        await self.spread(run, owner, message, to, trace_id)
        return piece

    async def _wait_for_chunk_room(self, run: Invocation | None, trace_id: str) -> None:
        """A chatty stream waits for its own reader before it fills the edges of all."""
        own = 1 if run is not None and run.trace_id == trace_id else 0
        trace = self.traces.get(trace_id)

        def has_room() -> bool:
            return trace is None or trace.cancelled or trace.pending - own < self.edges.maxsize

        if trace is not None and not has_room():
            if run is not None:
                self._park(run)
            await self.traces.wait_for_room(trace, has_room)

    async def receive(self, owner: Place, from_: Targets) -> Any:
        while True:
            taken = self.edges.take_for(owner, from_)
            if taken is not None:
                self.traces.removed(taken.trace_id)
                return taken.value
            await self.edges.wait_for_arrival(owner)

    def receive_nowait(self, owner: Place, from_: Targets) -> Any:
        taken = self.edges.take_for(owner, from_)
        if taken is None:
            raise asyncio.QueueEmpty
        self.traces.removed(taken.trace_id)
        return taken.value

    def bucket(self, owner: Place, trace_id: str) -> list[Any]:
        return self.traces.open(trace_id).buckets.setdefault(owner, [])

    # Runs (Host of a Worker)

    def context(self, run: Invocation) -> Context:
        return Context.of_run(run, self._owner, self)

    def loops(self, node: Node) -> bool:
        return node in self.graph.successors[node]

    def is_cancelled(self, trace_id: str | None) -> bool:
        trace = self.traces.get(trace_id)
        return trace is not None and trace.cancelled

    def begin(self, run: Invocation) -> None:
        if run.trace_id is not None:
            self.traces.open(run.trace_id).running[run] = None
        self._loops[run.node].begin(run)

    async def end(self, run: Invocation) -> None:
        self._loops[run.node].end(run)
        trace = self.traces.get(run.trace_id)
        if trace is not None:
            trace.running.pop(run, None)
            if trace.cancelled:
                await self._finish_cancel(trace)
            else:
                self.traces.close_if_idle(trace)

    async def complete(self, run: Invocation, result: Any, steering: Steering | None) -> Outcome:
        if steering is None:
            if result is not None:
                await self.send(run, run.node, result, None)
            return DONE
        if steering.to_egress is not None:
            await self.send(run, run.node, steering.to_egress, ROOKERY)
            self._note_hops(steering.to_egress)
        if steering.to_self is not None:
            await self.send(run, run.node, steering.to_self, run.node)
        return DONE

    def _note_hops(self, message: Message) -> None:
        hops = hops_of(message)
        trace = self.traces.get(message.trace_id)
        if hops is not None and trace is not None:
            trace.streamed_hops = hops

    async def fail(self, run: Invocation, error: FlowError) -> Outcome:
        for callback in self.failure_callbacks:
            callback(error)
        if self.emits_errors:
            for_trace = run.trace_id
            await self.spread(run, run.node, error, ROOKERY, for_trace)
        return DONE

    async def expire(self, run: Invocation, answer: Message) -> Outcome:
        await self.send(run, run.node, answer, ROOKERY)
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
        return trace.pending, len(trace.running), trace.cancelled

    def ensure_trace_event(self, trace_id: str) -> asyncio.Event:
        """The event that a cancel of the trace sets."""
        return self.traces.cancel_event(trace_id)

    async def cancel(self, trace_id: str) -> bool:
        """Cancel a trace: drop what waits, cancel what runs; does not wait for its end.

        Returns:
            False when nothing of the trace is queued, running or unread.
        """
        trace = self.traces.get(trace_id)
        if trace is None or not (trace.pending or trace.running):
            self.round_trips.abandon(trace_id, cancelled=False)
            return False
        if trace.cancelled:
            return True
        trace.cancelled = True
        self.traces.cancel_event(trace_id).set()
        await self.events.emit(
            "trace_cancel_start",
            level=logging.INFO,
            source=OPEN_SEA,
            trace_id=trace_id,
            extra={"pending": trace.pending},
        )
        self._drop_queued(trace)
        for run in list(trace.running):
            run.cancel()
        await self._finish_cancel(trace)
        return True

    def _drop_queued(self, trace: Trace) -> None:
        trace_id = trace.trace_id
        dropped = self.edges.drop(trace_id)
        dropped += sum(loop.drop_waiting(trace_id) for loop in self._loops.values())
        if dropped:
            self.traces.removed(trace_id, dropped)
        self.round_trips.abandon(trace_id, cancelled=True)
        waiters = trace.room
        while waiters:
            wake(waiters)

    async def _finish_cancel(self, trace: Trace) -> None:
        if trace.pending or trace.running or not trace.cancelled:
            return
        self.traces.forget(trace)
        await self.events.emit(
            "trace_cancel_finish", level=logging.INFO, source=ROOKERY, trace_id=trace.trace_id
        )
