"""A worker process's share of a durable flow: a lane for each node that it hosts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from penguiflow.async_tasks import end_tasks
from penguiflow.clock import SYSTEM_CLOCK, Clock
from penguiflow.durable.backlog import watch_backlogs
from penguiflow.durable.cancel import CANCEL_TOPIC, announced
from penguiflow.durable.check import check_durable
from penguiflow.durable.claims import Claims
from penguiflow.durable.codec import TypeMap, ValueCodec
from penguiflow.durable.commit import Commit
from penguiflow.durable.dead_letters import DeadLetters
from penguiflow.durable.envelope import MAX_VALUE_BYTES, decode
from penguiflow.durable.host import DurableHost
from penguiflow.durable.join import DurableJoin
from penguiflow.durable.join_timeout import JoinTimeout
from penguiflow.durable.lane import Lane
from penguiflow.durable.log import Log, LogError, Subscription
from penguiflow.durable.ordered_lane import OrderedLane, window_of
from penguiflow.durable.quarantine import Quarantine
from penguiflow.durable.timers import Timers
from penguiflow.durable.tokens import trace_token
from penguiflow.durable.topology import TIMERS, FlowNotDurable, Topology, cancel_key
from penguiflow.durable.turns import Turns
from penguiflow.events import Events, log_event
from penguiflow.flow import PenguiFlow
from penguiflow.join import Join
from penguiflow.node import Node
from penguiflow.registry import ModelRegistry
from penguiflow.telemetry.instrument import FlowInstrument, FlowPlace, Instrument

DEFAULT_MAX_DELIVERIES = 20
"""Deliveries of one input without an end, after which it is taken for poison."""


def new_worker_id() -> str:
    """Names this process in records: host, process id and a random part."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


class DurableWorker:
    """Hosts all or some nodes of a flow over a log, in any asyncio program.

    Args:
        flow: The flow, as it is; it must not be running itself.
        log: The log of the flow's tenant.
        dead_letters: Where unprocessable entries go.
        nodes: Names of the nodes to host; all by default.
        registry: The models of nodes that validate.
        concurrency: Inputs in work at once per node, unless the node's policy says otherwise.
        lease: Seconds after which an input of a dead worker is delivered to another one.
        max_deliveries: Deaths of workers over one input after which it is buried.
        newer_delay: Seconds after which an entry of a newer version is offered to workers again.
        newer_limit: Seconds for which it is, before it is buried.
        max_value_bytes: Bytes that one packed value may have; a result beyond fails its node.
        on_gone: Called with (node, reason) when a consumer was deleted by somebody else.
        telemetry: Observes what is done here; by default what the flow was given.

    Raises:
        FlowNotDurable: a node uses something that cannot be spread over workers.
        KeyError: a name in `nodes` is not in the flow.
    """

    def __init__(
        self,
        flow: PenguiFlow,
        log: Log,
        dead_letters: DeadLetters,
        *,
        nodes: Sequence[str] | None = None,
        registry: ModelRegistry | None = None,
        concurrency: int = 64,
        lease: float = 15.0,
        max_deliveries: int = DEFAULT_MAX_DELIVERIES,
        newer_delay: float = 10.0,
        newer_limit: float = 3600.0,
        max_value_bytes: int = MAX_VALUE_BYTES,
        worker_id: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
        on_gone: Callable[[str, str], None] | None = None,
        telemetry: Instrument | None = None,
    ) -> None:
        check_durable(flow.graph)
        if registry is not None:
            flow.check_registry(registry)
        self.id: str = worker_id or new_worker_id()
        self.log = log
        self.topology: Topology = Topology(flow.graph, lease=lease)
        self._clock = clock
        self._concurrency = concurrency
        self._on_gone = on_gone
        self._limits = (max_deliveries, (newer_delay, newer_limit))
        self._quarantine = Quarantine(clock)
        self._codec = ValueCodec(TypeMap.of_flow(flow.graph, registry), max_bytes=max_value_bytes)
        self._claims = Claims(log, clock=clock)
        self._dead_letters = dead_letters
        telemetry = telemetry or flow.telemetry
        self._probe = _probe(telemetry, log, self.id)
        self._commit = Commit(
            log, self.topology, self._codec, dead_letters, worker=self.id, clock=clock,
            emits_errors=flow.emits_errors, claims=self._claims, probe=self._probe,
        )  # fmt: skip
        self.host: DurableHost = DurableHost(
            log, self.topology, self._commit, events=self._events(flow), registry=registry,
            clock=clock, instrument=self._probe,
        )  # fmt: skip
        self.host.telemetry = telemetry
        self._joins = self._joins_of(flow)
        self._timers = Timers(
            self.host, self._joins, dead_letters, worker=self.id, newer_delay=newer_delay
        )
        self.lanes: list[Lane] = [self._lane(node) for node in _chosen(flow, nodes)]
        self._heart: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._cancels: Subscription | None = None

    def _events(self, flow: PenguiFlow) -> Callable[[DurableHost], Events]:
        """The flow's own store and middlewares; what the store refuses is not forgotten here."""

        def events(host: DurableHost) -> Events:
            sink = Events(
                host,
                clock=self._clock,
                store=flow.state_store,
                middlewares=flow.middlewares,
                store_fails_open=False,
            )
            sink.tenant = self.log.tenant
            sink.instrument = self._probe
            return sink

        return events

    def _joins_of(self, flow: PenguiFlow) -> dict[str, DurableJoin]:
        """All joins, hosted here or not: whichever worker is handed its timer ends one."""
        nodes = flow.graph.nodes
        return {str(n.name): self._join(n, n.join) for n in nodes if n.join is not None}

    def _join(self, node: Node, join: Join) -> DurableJoin:
        timeout = None
        token = self.topology.tokens[str(node.name)]
        if join.timeout_s is not None:
            timeout = JoinTimeout(
                node, join, self.log, token=token, commit=self._commit,
                dead_letters=self._dead_letters, worker=self.id,
            )  # fmt: skip
        return DurableJoin(
            node, join, self.topology, self._codec, self.log, claims=self._claims, worker=self.id,
            clock=self._clock, probe=self._probe, timeout=timeout,
        )  # fmt: skip

    def _lane(self, node: Node) -> Lane:
        max_deliveries, newer = self._limits
        options: dict[str, Any] = {
            "codec": self._codec,
            "commit": self._commit,
            "claims": self._claims,
            "dead_letters": self._dead_letters,
            "worker_id": self.id,
            "max_deliveries": max_deliveries,
            "newer": newer,
            "quarantine": self._quarantine,
        }
        if node.policy.order_by is None:
            return Lane(node, self.host, join=self._joins.get(str(node.name)), **options)
        slots = node.policy.concurrency or self._concurrency
        turns = Turns(
            node, self.topology.tokens[str(node.name)], self.log, codec=self._codec,
            claims=self._claims, clock=self._clock, finish=self._commit.finish_outputs,
            room=window_of(slots) - slots,
        )  # fmt: skip
        return OrderedLane(node, self.host, turns=turns, slots=slots, **options)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Join the consumers of the hosted nodes and begin to work."""
        self._cancels = await self.log.listen(CANCEL_TOPIC, self._heard_cancel)
        for lane in self.lanes:
            await lane.begin()
            window = lane.window or lane.node.policy.concurrency or self._concurrency
            lane.consumption = await self.log.consume(
                self.topology.consumer(lane.node),
                lane.deliver,
                window=window,
                on_gone=self._gone(lane.name),
            )
        await self._timers.start(self._gone(TIMERS))
        self._heart = asyncio.create_task(self._beat(), name="penguiflow:heartbeat")
        if self._probe is not None:
            watch = watch_backlogs(self.lanes, self._probe, self._clock)
            self._watch = asyncio.create_task(watch, name="penguiflow:backlog")

    def _gone(self, name: str) -> Callable[[str], None]:
        def gone(reason: str) -> None:
            failure = {"node_name": name, "reason": reason}
            log_event(logging.ERROR, "consumer_gone", failure)
            if self._on_gone is not None:
                self._on_gone(name, reason)

        return gone

    async def stop(self, *, drain: float = 30.0) -> int:
        """Take nothing more, finish what is in hand within `drain` seconds, hand back the rest.

        Returns:
            How many inputs were handed back unfinished. Idempotent.
        """
        end = self._clock.monotonic() + drain
        for lane in self.lanes:
            if lane.consumption is not None:
                lane.consumption.pause()
        _, handed_back = await asyncio.gather(self._timers.stop(drain), self._finish(drain))
        for lane in self.lanes:
            if lane.consumption is not None:
                await lane.consumption.stop()
        # What was on its way while the lanes finished is there by now, and nothing comes any more.
        handed_back += await self._finish(max(0.0, end - self._clock.monotonic()))
        await end_tasks(self._heart, self._watch)
        if self._cancels is not None:
            await self._cancels.unsubscribe()
        await self.host.cancel_external_tasks()
        return handed_back

    async def _finish(self, limit: float) -> int:
        return sum(await asyncio.gather(*(lane.finish(limit) for lane in self.lanes)))

    # Cancel and leases

    def _heard_cancel(self, topic: str, data: bytes) -> None:
        self.cancel_here(*announced(data))

    def cancel_here(self, trace_id: str, by: str | None = None) -> None:
        """Cancel what of the trace runs or waits in this process; `by` is the cancel's W3C trace
        context."""
        self.host.cancel_here(trace_id, by)
        for lane in self.lanes:
            lane.drop(trace_id)

    async def _beat(self) -> None:
        """Renew leases and look for cancelled traces, three times per lease."""
        while True:
            await self._clock.sleep(self.topology.lease / 3)
            with contextlib.suppress(LogError):
                for lane in self.lanes:
                    for delivery in lane.in_hand:
                        delivery.in_progress()
                await self.log.synchronise()
                await self._look_for_cancels()

    async def _look_for_cancels(self) -> None:
        for trace_id in self.host.running():
            marker = await self.log.get(cancel_key(trace_token(trace_id)))
            if marker is not None:
                self.cancel_here(trace_id, decode(marker.data).traceparent)


def _probe(telemetry: Instrument | None, log: Log, worker_id: str) -> FlowInstrument | None:
    if telemetry is None:
        return None
    place = FlowPlace(
        flow=log.flow,
        instance=worker_id,
        tenant=log.tenant,
        system=log.system,
        now=log.server_time,
        server=log.server,
    )
    return telemetry.flow(place)


def _chosen(flow: PenguiFlow, names: Sequence[str] | None) -> list[Node]:
    if names is None:
        return list(flow.graph.nodes)
    by_name = {str(node.name): node for node in flow.graph.nodes}
    unknown = sorted(set(names) - set(by_name))
    if unknown:
        msg = f"the flow has no node {', '.join(unknown)}; it has {', '.join(by_name)}"
        raise KeyError(msg)
    return [by_name[name] for name in dict.fromkeys(names)]


__all__ = ["DurableWorker", "FlowNotDurable"]
