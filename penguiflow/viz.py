"""A flow as a diagram: Mermaid or DOT. Nodes and edges stand in declaration order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penguiflow.endpoints import OPEN_SEA, ROOKERY, Endpoint

if TYPE_CHECKING:
    from penguiflow.context import Place
    from penguiflow.flow import PenguiFlow


@dataclass(frozen=True, slots=True)
class _Edge:
    source: Place
    target: Place
    label: str | None


class _Diagram:
    """The places of a flow with the ids they have in a diagram, and the edges between them."""

    def __init__(self, flow: PenguiFlow) -> None:
        graph = flow.graph
        self.edges = [_Edge(OPEN_SEA, node, "ingress") for node in graph.ingress]
        for node in graph.nodes:
            for target in graph.successors[node]:
                self.edges.append(_Edge(node, target, "loop" if target is node else None))
        self.edges += [_Edge(node, ROOKERY, "egress") for node in graph.egress]
        self.loops = [node for node in graph.nodes if node in graph.successors[node]]
        self.ends = [OPEN_SEA] * bool(graph.ingress) + [ROOKERY] * bool(graph.egress)
        self.ids: dict[Place, str] = {}
        places: list[Place] = [*self.ends, *graph.nodes]
        for place in places:
            self._name(place)

    def _name(self, place: Place) -> None:
        wanted = re.sub(r"[^0-9A-Za-z_]", "_", str(place.name)) or "_"
        chosen, number = wanted, 1
        while chosen in self.ids.values():
            number += 1
            chosen = f"{wanted}_{number}"
        self.ids[place] = chosen


def flow_to_mermaid(flow: PenguiFlow, *, direction: str = "TD") -> str:
    """The flow as a Mermaid graph; `direction` is TD, LR, BT or RL."""
    diagram = _Diagram(flow)
    lines = [f"graph {direction}"]
    for place, ident in diagram.ids.items():
        label = str(place.name).replace('"', "#quot;")
        lines.append(f'    {ident}["{label}"]')
    for edge in diagram.edges:
        arrow = f"-->|{edge.label}|" if edge.label else "-->"
        lines.append(f"    {diagram.ids[edge.source]} {arrow} {diagram.ids[edge.target]}")
    if diagram.ends:
        lines.append("    classDef endpoint fill:#e0f2fe,stroke:#0369a1,stroke-width:1px")
        lines += [f"    class {diagram.ids[end]} endpoint" for end in diagram.ends]
    if diagram.loops:
        lines.append("    classDef controller_loop fill:#fef3c7,stroke:#b45309,stroke-width:1px")
        lines += [f"    class {diagram.ids[node]} controller_loop" for node in diagram.loops]
    return "\n".join(lines)


def flow_to_dot(flow: PenguiFlow, *, rankdir: str = "TB") -> str:
    """The flow as a DOT graph; `rankdir` is TB, LR, BT or RL."""
    diagram = _Diagram(flow)
    lines = [
        "digraph PenguiFlow {",
        f"    rankdir={rankdir}",
        "    node [shape=box, style=rounded]",
    ]
    for place, ident in diagram.ids.items():
        lines.append(f"    {ident} [label={_quoted(str(place.name))}{_look(place, diagram)}]")
    for edge in diagram.edges:
        label = f" [label={_quoted(edge.label)}]" if edge.label else ""
        lines.append(f"    {diagram.ids[edge.source]} -> {diagram.ids[edge.target]}{label}")
    return "\n".join([*lines, "}"])


def _look(place: Place, diagram: _Diagram) -> str:
    if isinstance(place, Endpoint):
        return ', shape=oval, style="filled", fillcolor="#e0f2fe"'
    return ', style="rounded,filled", fillcolor="#fef3c7"' if place in diagram.loops else ""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


__all__ = ["flow_to_dot", "flow_to_mermaid"]
