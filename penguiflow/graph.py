"""The shape of a flow. Pure: nodes and edges in declaration order, ends, cycle check."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from penguiflow.node import Node

Adjacency = tuple[Node, Sequence[Node]]


class CycleError(RuntimeError):
    """The flow contains a cycle that nobody allowed."""


class Graph:
    """Nodes and their successors, in the order in which they were declared."""

    __slots__ = ("nodes", "predecessors", "successors")

    def __init__(self, adjacencies: Iterable[Adjacency]) -> None:
        self.successors: dict[Node, list[Node]] = {}
        for node, targets in adjacencies:
            known = self.successors.setdefault(node, [])
            known.extend(target for target in dict.fromkeys(targets) if target not in known)
            for target in targets:
                self.successors.setdefault(target, [])
        self.nodes: tuple[Node, ...] = tuple(self.successors)
        self.predecessors: dict[Node, list[Node]] = {node: [] for node in self.nodes}
        for node, targets in self.successors.items():
            for target in targets:
                self.predecessors[target].append(node)

    @property
    def ingress(self) -> tuple[Node, ...]:
        """Nodes without parents; the allowed loop of a node to itself is not a parent."""
        return tuple(n for n in self.nodes if not _others(n, self.predecessors[n]))

    @property
    def egress(self) -> tuple[Node, ...]:
        """Nodes without successors; the allowed loop of a node to itself is not a successor."""
        return tuple(n for n in self.nodes if not _others(n, self.successors[n]))

    def check_cycles(self) -> None:
        """Raises `CycleError` when nodes form a cycle other than an allowed loop to itself."""
        waiting = {n: len(_others(n, self.predecessors[n])) for n in self.nodes}
        ready = [n for n, count in waiting.items() if count == 0]
        visited = 0
        while ready:
            node = ready.pop()
            visited += 1
            for target in _others(node, self.successors[node]):
                waiting[target] -= 1
                if waiting[target] == 0:
                    ready.append(target)
        if visited != len(self.nodes):
            msg = "Flow contains a cycle; enable allow_cycles to bypass"
            raise CycleError(msg)


def _others(node: Node, linked: list[Node]) -> list[Node]:
    return [n for n in linked if not (n is node and node.allow_cycle)]
