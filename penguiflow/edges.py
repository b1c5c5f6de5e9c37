"""The local edges of a flow: one per declared edge, one per ingress node, one per egress node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penguiflow.context import Place, Targets, resolve
from penguiflow.egress import Egress, EgressQueue
from penguiflow.endpoints import OPEN_SEA, ROOKERY
from penguiflow.floe import Floe, Inbox, Item
from penguiflow.graph import Graph
from penguiflow.node import Node
from penguiflow.traces import Traces


class Edges:
    """Queues, inboxes and the egress of one flow."""

    def __init__(self, graph: Graph, traces: Traces, maxsize: int) -> None:
        self.maxsize = maxsize
        self.egress = Egress(traces)
        self._traces = traces
        self._outgoing: dict[Place, dict[Place, Floe]] = {OPEN_SEA: {}}
        self._inboxes: dict[Node, Inbox] = {node: Inbox() for node in graph.nodes}
        self._straight_out: dict[Node, Floe] = {}
        for node in graph.nodes:
            self._outgoing[node] = {
                target: self._connect(node, target) for target in graph.successors[node]
            }
        for node in graph.ingress:
            self._outgoing[OPEN_SEA][node] = self._connect(OPEN_SEA, node)
        self._leaves = list(graph.egress)
        for node in self._leaves:
            self._outgoing[node][ROOKERY] = self._to_egress(node)
        self._all = {place: list(floes.values()) for place, floes in self._outgoing.items()}

    def _connect(self, source: Place, target: Node) -> Floe:
        floe = Floe(source, target, maxsize=self.maxsize)
        self._inboxes[target].connect(floe)
        return floe

    def _to_egress(self, node: Node) -> Floe:
        floe = Floe(node, ROOKERY, maxsize=self.maxsize)
        floe.queue = EgressQueue(self.egress, floe, self.maxsize)
        return floe

    def inbox(self, node: Node) -> Inbox:
        """What waits for a node."""
        return self._inboxes[node]

    def places(self, owner: Place) -> Sequence[Place]:
        """Where the owner's edges lead."""
        return list(self._outgoing.get(owner, ()))

    def outgoing(self, owner: Place) -> dict[Place, Floe]:
        """The owner's edges by target."""
        return self._outgoing.get(owner, {})

    def floes(self, owner: Place, to: Targets) -> Sequence[Floe]:
        """The edges that a `to` names; all of the owner's for None.

        Raises:
            KeyError: "Unknown target X for Y".
            RuntimeError: the flow has no ingress node, so that a message could go nowhere.
        """
        if to is None:
            floes = self._all[owner]
            if not floes and owner is OPEN_SEA:
                msg = "the flow has no ingress node; the message would go nowhere"
                raise RuntimeError(msg)
            return floes
        if isinstance(owner, Node) and to is ROOKERY:
            return [self._straight(owner)]
        edges = self._outgoing.get(owner, {})
        return [edges[place] for place in resolve(owner, list(edges), to)]

    def _straight(self, node: Node) -> Floe:
        """The edge from any node straight to the egress."""
        floe = self._outgoing[node].get(ROOKERY) or self._straight_out.get(node)
        if floe is None:
            floe = self._straight_out[node] = self._to_egress(node)
        return floe

    def is_full(self, floe: Floe, trace_id: str | None) -> bool:
        """Whether a message of this trace has to wait before this edge."""
        if floe.target is not ROOKERY:
            return floe.queue.full()
        if self.maxsize <= 0:
            return False
        if trace_id is None:
            return self.egress.unread_untraced >= self.maxsize
        trace = self._traces.get(trace_id)
        return trace is not None and trace.unread >= self.maxsize

    async def wait_for_room(self, floe: Floe, trace_id: str | None) -> None:
        """Wait until the edge has room for this trace."""
        if floe.target is ROOKERY:
            await self.egress.wait_for_room(lambda: not self.is_full(floe, trace_id))
        else:
            await floe.queue.wait_for_room()

    def put(self, floe: Floe, value: Any, trace_id: str | None) -> None:
        """Put a value on an edge that has room, and count it as pending."""
        if floe.target is ROOKERY:
            self._traces.added(trace_id)
            self.egress.add(value, trace_id, floe)
        else:
            floe.queue.put_nowait(Item(value, trace_id))
            self._traces.added(trace_id)

    def drop(self, trace_id: str) -> int:
        """Remove what waits of a trace; returns how many."""
        dropped = self.egress.drop(trace_id)
        for floes in self._outgoing.values():
            dropped += sum(f.queue.drop(trace_id) for f in floes.values() if f.target != ROOKERY)
        return dropped

    def depth(self) -> int:
        """Messages waiting before nodes."""
        return sum(inbox.depth() for inbox in self._inboxes.values())

    def depths(self, source: Place) -> tuple[int, int, int, int]:
        """(messages waiting before, behind, outgoing edges, maximum per edge) of a place."""
        outgoing = self._outgoing.get(source, {})
        behind = sum(floe.queue.qsize() for floe in outgoing.values())
        if source == ROOKERY:
            return len(self.egress), 0, 0, self.maxsize
        before = self._inboxes[source].depth() if isinstance(source, Node) else 0
        return before, behind, len(outgoing), self.maxsize

    def take_for(self, owner: Place, from_: Targets) -> Item | None:
        """Take the next message on a node's incoming edges, or on those from some places."""
        inbox = self._inbox_of(owner)
        if from_ is None:
            taken = inbox.take()
            return taken[1] if taken is not None else None
        sources = [floe.source for floe in inbox.floes]
        for source in resolve(owner, sources, from_):
            floe = inbox.floes[sources.index(source)]
            if not floe.queue.empty():
                return floe.queue.take()
        return None

    async def wait_for_arrival(self, owner: Place) -> None:
        """Wait until `take_for` may find something."""
        await self._inbox_of(owner).wait()

    def _inbox_of(self, owner: Place) -> Inbox:
        inbox = self._inboxes.get(owner) if isinstance(owner, Node) else None
        if inbox is None or not inbox.floes:
            msg = "context has no incoming floes to fetch from"
            raise RuntimeError(msg)
        return inbox

    def require_egress(self) -> None:
        """Raises RTE when no result can ever come."""
        if not self._leaves and not self._outgoing[OPEN_SEA]:
            msg = "context has no incoming floes to fetch from"
            raise RuntimeError(msg)

    def egress_from(self, from_: Targets) -> list[Floe]:
        """The egress edges from some nodes. Raises `KeyError`."""
        nodes = [*self._leaves, *self._straight_out]
        return [self._straight(n) for n in resolve(ROOKERY, nodes, from_) if isinstance(n, Node)]
