"""Which entries each node of a flow reads. Pure: planned from the graph alone."""

from __future__ import annotations

from collections.abc import Sequence

from penguiflow.durable.envelope import EGRESS
from penguiflow.durable.log import ConsumerSpec, Key, Kind, Pattern
from penguiflow.durable.tokens import HASHED, derive, is_token, token
from penguiflow.graph import Graph
from penguiflow.node import Node

TIMERS = "_timers"
"""The name of the consumer that all workers of a flow share for what is due later."""
TIMER_WINDOW = 64
"""Timers that one worker has in hand at once."""
MOST_TIMERS = 1_000_000
"""Timers of a flow that are looked at; later ones wait until earlier ones have rung."""

EGRESS_TOKEN = "_egress"  # noqa: S105 - the name of a place
"""How the egress is written where a key names a node."""


class FlowNotDurable(ValueError):
    """The flow uses something that cannot be spread over workers. The text names it."""


def flow_token(graph: Graph, name: str | None, version: str) -> str:
    """The token of a flow on the server: its name and version, or a digest of its graph.

    Raises:
        FlowNotDurable: name or version do not fit into a subject.
    """
    if name is None:
        edges = [f"{n.name}>{t.name}" for n in graph.nodes for t in graph.successors[n]]
        name = f"flow_{derive(*[str(n.name) for n in graph.nodes], *edges)[:12]}"
    for part in (name, version):
        if not is_token(part) or part.startswith(("_", HASHED)):
            msg = (
                f"{part!r} cannot be the name or version of a durable flow; "
                "use letters, digits, '_' and '-', at most 64"
            )
            raise FlowNotDurable(msg)
    if "-" in version:  # or name "a", version "1-2" would be name "a-1", version "2"
        msg = f"{version!r} cannot be the version of a durable flow: it contains '-'"
        raise FlowNotDurable(msg)
    return token(f"{name}-{version}")


class Topology:
    """The consumers of a durable flow."""

    def __init__(self, graph: Graph, *, lease: float = 15.0) -> None:
        self.graph = graph
        self.lease = lease
        self.tokens: dict[str, str] = {
            str(node.name): token(str(node.name)) for node in graph.nodes
        }
        self._node_of = {self.tokens[str(node.name)]: node for node in graph.nodes}
        self.ingress: tuple[str, ...] = tuple(str(node.name) for node in graph.ingress)
        self.leaves: tuple[str, ...] = tuple(str(node.name) for node in graph.egress)
        self._successors = {
            str(node.name): tuple(str(target.name) for target in graph.successors[node])
            or (EGRESS,)
            for node in graph.nodes
        }
        for node in graph.egress:
            own = self._successors[str(node.name)]
            if EGRESS not in own:
                self._successors[str(node.name)] = (*own, EGRESS)

    def node(self, node_token: str) -> Node | None:
        """The node of a token, or None when the flow has no such node."""
        return self._node_of.get(node_token)

    def successors(self, name: str) -> tuple[str, ...]:
        """Where the result of a node goes: names of nodes, `EGRESS` for a node without any."""
        return self._successors[name]

    def consumer(self, node: Node) -> ConsumerSpec:
        """The durable consumer of a node."""
        name = str(node.name)
        patterns = [
            Pattern(kind=Kind.RECORD, node=self.tokens[str(parent.name)])
            for parent in self.graph.predecessors[node]
        ]
        if name in self.ingress:
            patterns.append(Pattern(kind=Kind.INGRESS))
        patterns.append(Pattern(kind=Kind.OUTPUT, node=self.tokens[name]))
        return ConsumerSpec(name=self.tokens[name], patterns=patterns, lease=self.lease)

    def results(self, trace: str | None = None) -> list[Pattern]:
        """What holds the results of a trace, or of all."""
        patterns = [
            Pattern(kind=Kind.RECORD, trace=trace, node=self.tokens[leaf]) for leaf in self.leaves
        ]
        return [*patterns, Pattern(kind=Kind.OUTPUT, trace=trace, node=EGRESS_TOKEN)]

    def timers(self) -> ConsumerSpec:
        """The durable consumer of what is due later."""
        patterns = [Pattern(kind=Kind.TIMER)]
        return ConsumerSpec(TIMERS, patterns, lease=self.lease, max_ack_pending=MOST_TIMERS)

    def output_key(self, trace: str, target: str, input_id: str, *, later: bool = False) -> Key:
        """The key of an output that is addressed to one node, now or `later`."""
        # A record may name nodes of another graph: inputs can be moved to nodes that are new.
        node = EGRESS_TOKEN if target == EGRESS else self.tokens.get(target) or token(target)
        return Key(Kind.TIMER if later else Kind.OUTPUT, trace, node, input_id)


def everything(trace: str) -> Sequence[Pattern]:
    """All entries of a trace, its end marker included."""
    return [Pattern(trace=trace)]


def standing(trace: str) -> Sequence[Pattern]:
    """The entries of a trace that say how far it is: not those that are only inputs of nodes."""
    return [
        Pattern(kind=Kind.INGRESS, trace=trace),
        Pattern(kind=Kind.TIMER, trace=trace),
        Pattern(kind=Kind.RECORD, trace=trace),
        Pattern(kind=Kind.OUTPUT, trace=trace, node=EGRESS_TOKEN),
        *(Pattern(kind=kind, trace=trace) for kind in Kind if kind.is_marker),
    ]


def record_key(trace: str, node_token: str, input_id: str) -> Key:
    """The key of a node's result for an input."""
    return Key(Kind.RECORD, trace, node_token, input_id)


def end_key(trace: str) -> Key:
    """The key of a trace's end marker."""
    return Key(Kind.END, trace)


def cancel_key(trace: str) -> Key:
    """The key of the marker that a trace is to be cancelled."""
    return Key(Kind.CANCEL, trace)


def lost_key(trace: str) -> Key:
    """The key of the marker that a branch of the trace was lost."""
    return Key(Kind.LOST, trace)


def output_id(trace: str, node: str, input_id: str, index: int) -> str:
    """The id of an output: what the node that reads it knows its input by."""
    return derive("output", trace, node, input_id, index)
