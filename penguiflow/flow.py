"""The flow: nodes joined by edges, run in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from math import inf
from typing import Any

from penguiflow.bus import MessageBus
from penguiflow.clock import SYSTEM_CLOCK, Clock
from penguiflow.context import ChunkRequest, Site, Targets
from penguiflow.endpoints import OPEN_SEA, Endpoint
from penguiflow.errors import FlowError
from penguiflow.events import Events, Middleware
from penguiflow.floe import Floe, trace_of
from penguiflow.graph import Adjacency, Graph
from penguiflow.local import LocalHost
from penguiflow.mirror import MirrorBus
from penguiflow.node import Node
from penguiflow.registry import ModelRegistry
from penguiflow.remote_support import RemoteSupport
from penguiflow.round_trip import TraceResults
from penguiflow.state.models import StoredEvent
from penguiflow.state.protocols import StateStore
from penguiflow.telemetry.instrument import FlowPlace, Instrument
from penguiflow.types import Message, StreamChunk

DEFAULT_QUEUE_MAXSIZE = 64
_UNREAD_LIMIT = 1024
"""Results that nobody fetched, beyond which a plain emit waits."""


class PenguiFlow(RemoteSupport):
    """A flow of nodes. `run()` starts it; `emit` puts messages in, `fetch` takes results out.

    Args:
        adjacencies: `node.to(successors)`, one per node.
        queue_maxsize: How many messages wait on each edge; zero or less is unbounded.
        allow_cycles: Accept cycles of any kind.
        middlewares: Are awaited with every FlowEvent, in order.
        emit_errors_to_rookery: A node's final `FlowError` is a result.
        state_store: Keeps FlowEvents and remote bindings. In process it fails open.
        message_bus: Is told of every message on an edge. It only observes and fails open.
        name: Identifies a durable flow; by default a digest of its graph does.
        telemetry: Observes the flow, in this process and in workers that host it.
        version: Apart from other versions of the same name on the same server.

    Raises:
        CycleError: the flow contains a cycle that is not allowed.
    """

    def __init__(
        self,
        *adjacencies: Adjacency,
        queue_maxsize: int = DEFAULT_QUEUE_MAXSIZE,
        allow_cycles: bool = False,
        middlewares: Sequence[Middleware] | None = None,
        emit_errors_to_rookery: bool = False,
        state_store: StateStore | None = None,
        message_bus: MessageBus | None = None,
        name: str | None = None,
        version: str = "1",
        clock: Clock = SYSTEM_CLOCK,
        telemetry: Instrument | None = None,
    ) -> None:
        self.graph: Graph = Graph(adjacencies)
        if not allow_cycles:
            self.graph.check_cycles()
        self.name = name
        self.version = version
        self.queue_maxsize = queue_maxsize
        self._clock = clock
        self._host = LocalHost(
            self.graph,
            owner=self,
            queue_maxsize=queue_maxsize,
            mirror=MirrorBus(message_bus) if message_bus is not None else None,
            emits_errors=emit_errors_to_rookery,
            clock=clock,
        )
        events = Events(
            self._host, clock=clock, store=state_store, middlewares=list(middlewares or [])
        )
        self._host.events = events
        super().__init__(events, telemetry=telemetry)
        self._unread_limit = max(_UNREAD_LIMIT, 4 * queue_maxsize) if queue_maxsize > 0 else inf
        self._draining = False

    @property
    def registry(self) -> ModelRegistry | None:
        """The registry of the current or last `run()`."""
        return self._host.registry

    @property
    def emits_errors(self) -> bool:
        """Whether a node's final `FlowError` is a result."""
        return self._host.emits_errors

    @property
    def state_store(self) -> StateStore | None:
        """What the flow was given as its state store."""
        return self.events.store

    @property
    def middlewares(self) -> list[Middleware]:
        """What is awaited with every FlowEvent."""
        return self.events.middlewares

    # Life

    def run(self, *, registry: ModelRegistry | None = None) -> None:
        """Start the workers; needs a running event loop.

        Raises:
            RuntimeError: it runs already, or nodes that validate are not in the registry.
        """
        if self._host.running or self._host.node_loops:  # the latter while it is being stopped
            msg = "PenguiFlow already running"
            raise RuntimeError(msg)
        asyncio.get_running_loop()
        if registry is not None:
            self.check_registry(registry)
        telemetry, place = self.telemetry, FlowPlace(flow=self.name or "flow")
        self._host.telemetry = telemetry
        self._host.instrument = None if telemetry is None else telemetry.flow(place)
        self._host.events.instrument = self._host.instrument
        self._host.start(registry)

    def check_registry(self, registry: ModelRegistry) -> None:
        """Raises RTE when a node that validates is not registered."""
        missing = sorted(
            {
                str(node.name)
                for node in self.graph.nodes
                if node.policy.validate != "none" and not registry.has(str(node.name))
            }
        )
        if missing:
            msg = (
                "ModelRegistry is missing entries for nodes requiring validation: "
                f"{', '.join(missing)}"
            )
            raise RuntimeError(msg)

    async def stop(self, *, drain: float | None = None) -> int:
        """Stop the workers; idempotent. What waits on edges stays there for a later `run()`.

        Args:
            drain: Refuse input and first finish what was accepted, at most so many seconds.

        Returns:
            How many accepted messages are not finished.
        """
        if self._host.running and drain is not None:
            self._draining = True
            try:
                await self._drained(drain)
            finally:
                self._draining = False
        if self._host.running:
            await self._host.stop()
        await self.cancel_external_tasks()
        if self._host.mirror is not None:
            await self._host.mirror.flush()
        return self._host.unfinished()

    async def _drained(self, limit: float) -> None:
        end = self._clock.monotonic() + limit
        while self._host.unfinished() and self._clock.monotonic() < end:
            await self._clock.sleep(0.005)

    def add_middleware(self, middleware: Middleware) -> None:
        """Await `middleware` with every FlowEvent from now on."""
        self.events.middlewares.append(middleware)

    def on_failure(self, callback: Callable[[FlowError], None]) -> None:
        """Call back when a node failed for good."""
        self._host.failure_callbacks.append(callback)

    def judge_deadlines_by(self, now: Callable[[], float]) -> None:
        """Judge deadlines by another clock than the flow's: that of the flow it is called from."""
        self._host.time = now

    def on_idle(self, callback: Callable[[str], None]) -> None:
        """Call back with the id of a trace when nothing of it is queued, in work or unread."""
        self._host.traces.idle_callbacks.append(callback)

    # As seen by contexts

    @property
    def site(self) -> Site:
        """The flow, as contexts use it."""
        return self._host

    def edges_of(self, owner: Node | Endpoint) -> Mapping[Node | Endpoint, Floe]:
        """The edges that lead away from a node or endpoint, by where they lead."""
        return self._host.edges.by_target(owner)

    async def _emit_to_rookery(self, message: Any, *, source: Node | Endpoint = OPEN_SEA) -> None:
        """Send a value to the egress. Deprecated: use `ctx.emit(value, to=ROOKERY)`."""
        floes = (self._host.edges.straight(source),)
        await self._host.spread(None, floes, message, trace_of(message))

    # In and out

    async def emit(
        self,
        msg: Any,
        to: Targets = None,
        *,
        trace_id: str | None = None,
        delay_s: float | None = None,
    ) -> None:
        """Put a message in, at all ingress nodes or at some; waits for room edge by edge.

        With `trace_id` this opens a round trip: the message is stamped with the id, and a second
        such emit of the same id waits until the first one's result was fetched.

        With `delay_s` it arrives so many seconds from now. It is kept in memory, and while the
        flow is stopped it waits.

        Raises:
            ValueError: the delay is no time from now on.
            asyncio.QueueFull: too many messages wait for their time.
            KeyError: "Unknown target X for OpenSea".
            RuntimeError: the flow has no ingress; or is draining; or, with `trace_id`, stopped.
            TypeError: with `trace_id`, a value that cannot be stamped.
        """
        self._refuse_when_draining()
        if trace_id is not None:
            await self._emit_scoped(msg, to, trace_id, delay_s)
            return
        host = self._host
        own = trace_of(msg)
        if host.repeats_hops(msg, own):
            return
        floes = host.edges.outgoing(OPEN_SEA, to)
        egress = host.edges.egress
        if egress.unread >= self._unread_limit:
            await egress.wait_for_room(lambda: egress.unread < self._unread_limit)
        if own is not None:
            host.round_trips.emitted(own)
        await host.put(floes, msg, own, delay_s)

    async def _emit_scoped(
        self, msg: Any, to: Targets, trace_id: str, delay_s: float | None
    ) -> None:
        self._require_running()
        host = self._host
        floes = host.edges.outgoing(OPEN_SEA, to)
        stamped = host.round_trips.stamp(msg, trace_id)
        trace = await host.round_trips.begin(trace_id)
        refused = True
        try:
            if not host.repeats_hops(stamped, trace_id):
                await host.put(floes, stamped, trace_id, delay_s)
                refused = False
        finally:
            host.round_trips.begun(trace, refused=refused)

    def emit_nowait(self, msg: Any, to: Targets = None, *, trace_id: str | None = None) -> None:
        """Put a message in at once. Raises `asyncio.QueueFull`, and RTE with a `trace_id`."""
        if trace_id is not None:
            problem = (
                "emit_nowait(trace_id=...) is not supported; use await emit(..., trace_id=...)"
            )
            raise RuntimeError(problem)
        self._refuse_when_draining()
        host = self._host
        own = trace_of(msg)
        if host.repeats_hops(msg, own):
            return
        if host.edges.egress.unread >= self._unread_limit:
            raise asyncio.QueueFull
        host.send_nowait(None, OPEN_SEA, msg, to)
        if own is not None:
            host.round_trips.emitted(own)

    async def fetch(self, from_: Targets = None, *, trace_id: str | None = None) -> Any:
        """The next result: of any trace, of the egress edges from some nodes, or of one trace.

        Raises:
            RuntimeError: the flow has no egress, or stopped meanwhile; or `from_` is used in a
                flow with scoped calls.
            TraceCancelled: the trace was cancelled.
        """
        edges, trips = self._host.edges, self._host.round_trips
        edges.require_egress()
        if from_ is not None:
            if trace_id is not None or trips.used:
                msg = "fetch(from_=...) is not supported once trace-scoped fetching is enabled"
                raise RuntimeError(msg)
            return await trips.fetch_any(edges.egress_from(from_))
        if trace_id is not None:
            return await trips.fetch(trace_id)
        return await trips.fetch_any(None)

    async def fetch_any(self, from_: Targets = None, *, trace_id: str | None = None) -> Any:
        """The same as `fetch`."""
        return await self.fetch(from_, trace_id=trace_id)

    def _require_running(self) -> None:
        if not self._host.running:
            msg = "PenguiFlow is not running"
            raise RuntimeError(msg)

    def _refuse_when_draining(self) -> None:
        if self._draining:
            msg = "PenguiFlow is draining; it takes no input"
            raise RuntimeError(msg)

    async def cancel(self, trace_id: str) -> bool:
        """Cancel a trace: drop what waits, cancel what runs; does not wait for its end.

        Returns:
            False when nothing of the trace is queued, running or unread.

        Raises:
            RuntimeError: the flow is not running.
        """
        self._require_running()
        canceller, instrument = self._host.canceller, self._host.instrument
        if instrument is not None:
            return await instrument.cancelling(trace_id, partial(canceller.start, trace_id))
        return await canceller.start(trace_id)

    def subscribe(self, trace_id: str) -> AbstractContextManager[TraceResults]:
        """Within the context, every result of the trace is kept for `fetch(trace_id=...)`.

        A scoped emit keeps only the first. Fetching all results of a trace as they come, beside
        others who fetch, needs this.
        """
        return self._host.round_trips.subscribed(trace_id)

    def ensure_trace_event(self, trace_id: str) -> asyncio.Event:
        """The event that a cancel of the trace sets."""
        return self._host.ensure_trace_event(trace_id)

    async def emit_chunk(
        self,
        *,
        parent: Message,
        text: str,
        stream_id: str | None = None,
        seq: int | None = None,
        done: bool = False,
        meta: Mapping[str, Any] | None = None,
        to: Targets = None,
    ) -> StreamChunk:
        """Send a piece of streamed text into the flow; see `Context.emit_chunk`."""
        self._refuse_when_draining()
        self._host.round_trips.emitted(parent.trace_id)
        request = ChunkRequest(parent, text, stream_id=stream_id, seq=seq, done=done, meta=meta)
        return await self._host.send_chunk(None, OPEN_SEA, request, to)

    # Store and remote calls

    async def load_history(self, trace_id: str) -> Sequence[StoredEvent]:
        """The stored events of a trace. Raises RTE without a state store."""
        if self.events.store is None:
            msg = "PenguiFlow was created without a state_store"
            raise RuntimeError(msg)
        return await self.events.store.load_history(trace_id)


def create(
    *adjacencies: Adjacency,
    queue_maxsize: int = DEFAULT_QUEUE_MAXSIZE,
    allow_cycles: bool = False,
    middlewares: Sequence[Middleware] | None = None,
    emit_errors_to_rookery: bool = False,
    state_store: StateStore | None = None,
    message_bus: MessageBus | None = None,
    name: str | None = None,
    version: str = "1",
    clock: Clock = SYSTEM_CLOCK,
    telemetry: Instrument | None = None,
) -> PenguiFlow:
    """A flow from `node.to(successors)`, one per node; the options are those of `PenguiFlow`."""
    return PenguiFlow(
        *adjacencies,
        queue_maxsize=queue_maxsize,
        allow_cycles=allow_cycles,
        middlewares=middlewares,
        emit_errors_to_rookery=emit_errors_to_rookery,
        state_store=state_store,
        message_bus=message_bus,
        name=name,
        version=version,
        clock=clock,
        telemetry=telemetry,
    )


__all__ = ["DEFAULT_QUEUE_MAXSIZE", "PenguiFlow", "create"]
