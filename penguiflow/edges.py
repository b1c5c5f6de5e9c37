"""The local edges of a flow: one per declared edge, one per ingress node, one per egress node."""

from __future__ import annotations

from collections.abc import Sequence

from penguiflow.context import Place, Targets, no_incoming, resolve
from penguiflow.egress import Egress, EgressQueue
from penguiflow.endpoints import OPEN_SEA, ROOKERY
from penguiflow.floe import Floe, Inbox, Item
from penguiflow.graph import Graph
from penguiflow.node import Node
from penguiflow.traces import Trace, Traces


class Edges:
    """Queues, inboxes and the egress of one flow."""

    def __init__(self, graph: Graph, traces: Traces, maxsize: int) -> None:
        self.maxsize = maxsize
        self.egress: Egress = Egress(traces)
        self._inboxes: dict[Node, Inbox] = {node: Inbox(traces) for node in graph.nodes}
        self._straight_out: dict[Place, Floe] = {}
        self._by_target: dict[Place, dict[Place, Floe]] = {OPEN_SEA: {}}
        for node in graph.nodes:
            self._by_target[node] = {
                target: self._inboxes[target].connect(node, target, maxsize)
                for target in graph.successors[node]
            }
        for node in graph.ingress:
            inbox = self._inboxes[node]
            self._by_target[OPEN_SEA][node] = inbox.connect(OPEN_SEA, node, maxsize)
        self._leaves = list(graph.egress)
        for node in self._leaves:
            self._by_target[node][ROOKERY] = self._to_egress(node)
        # By id, whose hash is known already: this is asked for every message of every node.
        self._outgoing = {
            place.node_id: tuple(floes.values()) for place, floes in self._by_target.items()
        }

    def _to_egress(self, source: Place) -> Floe:
        queue = EgressQueue(self.egress, self.maxsize)
        return Floe(source, ROOKERY, maxsize=self.maxsize, queue=queue)

    def inbox(self, node: Node) -> Inbox:
        """What waits for a node."""
        return self._inboxes[node]

    def places(self, owner: Place) -> Sequence[Place]:
        """Where the owner's edges lead."""
        return list(self._by_target.get(owner, ()))

    def by_target(self, owner: Place) -> dict[Place, Floe]:
        """The owner's edges by where they lead."""
        return self._by_target.get(owner, {})

    def outgoing(self, owner: Place, to: Targets = None) -> Sequence[Floe]:
        """The edges that a `to` names; all of the owner's for None.

        Raises:
            KeyError: "Unknown target X for Y".
            RuntimeError: the flow has no ingress node, so that a message could go nowhere.
        """
        if to is None:
            floes = self._outgoing[owner.node_id]
            if not floes and owner is OPEN_SEA:
                msg = "the flow has no ingress node; the message would go nowhere"
                raise RuntimeError(msg)
            return floes
        edges = self._by_target.get(owner, {})
        if isinstance(to, Node) and to in edges:
            return (edges[to],)
        places = list(edges)
        if isinstance(owner, Node) and ROOKERY not in edges:
            places.append(ROOKERY)
        return [
            edges[place] if place in edges else self.straight(owner)
            for place in resolve(owner, places, to)
        ]

    def straight(self, owner: Place) -> Floe:
        """The edge from any place straight to the egress."""
        floe = self._by_target.get(owner, {}).get(ROOKERY) or self._straight_out.get(owner)
        if floe is None:
            floe = self._straight_out[owner] = self._to_egress(owner)
        return floe

    def drop(self, trace: Trace) -> int:
        """Remove what waits of a trace, which counts it still; returns how many."""
        dropped = self.egress.drop(trace)
        for inbox in self._inboxes.values():
            dropped += len(inbox.drop(trace.trace_id))
        return dropped

    def depth(self) -> int:
        """Messages waiting before nodes."""
        return sum(len(inbox.items) for inbox in self._inboxes.values())

    def depths(self, source: Place) -> tuple[int, int, int, int]:
        """(messages waiting before, behind, outgoing edges, maximum per edge) of a place."""
        if source is ROOKERY:
            return self.egress.unread, 0, 0, self.maxsize
        outgoing = self._outgoing.get(source.node_id, ())
        behind = 0
        for floe in outgoing:
            behind += floe.queue.qsize()
        before = len(self._inboxes[source].items) if isinstance(source, Node) else 0
        return before, behind, len(outgoing), self.maxsize

    def take_for(self, owner: Place, from_: Targets) -> Item | None:
        """Take the next message on a node's incoming edges, or on those from some places.

        A message of a cancelled trace is left to the node, which drops it.
        """
        inbox = self._inbox_of(owner)
        queues = [floe.queue for floe in self._incoming(inbox, owner, from_)]
        for item in inbox.items:
            if item.queue in queues and (item.trace is None or not item.trace.cancelled):
                inbox.remove(item)
                return item
        return None

    def _incoming(self, inbox: Inbox, owner: Place, from_: Targets) -> Sequence[Floe]:
        if from_ is None:
            return inbox.floes
        sources = [floe.source for floe in inbox.floes]
        return [inbox.floes[sources.index(s)] for s in resolve(owner, sources, from_)]

    async def wait_for_arrival(self, owner: Place) -> None:
        """Wait until `take_for` may find something."""
        await self._inbox_of(owner).wait_to_read()

    def _inbox_of(self, owner: Place) -> Inbox:
        inbox = self._inboxes.get(owner) if isinstance(owner, Node) else None
        if inbox is None or not inbox.floes:
            raise no_incoming()
        return inbox

    def require_egress(self) -> None:
        """Raises RTE when no result can ever come."""
        if not self._leaves and not self._outgoing[OPEN_SEA.node_id]:
            raise no_incoming()

    def egress_from(self, from_: Targets) -> list[EgressQueue]:
        """The queues of the egress edges from some nodes. Raises `KeyError`."""
        places = [*self._leaves, *self._straight_out]
        return [self.straight(place).queue for place in resolve(ROOKERY, places, from_)]
