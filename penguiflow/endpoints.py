"""The two ends of a flow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A place that is no node: where messages enter or leave."""

    name: str

    @property
    def node_id(self) -> str:
        return self.name


OPEN_SEA = Endpoint("OpenSea")
"""The ingress: feeds the nodes without parents."""

ROOKERY = Endpoint("Rookery")
"""The egress: fed by the nodes without successors."""
