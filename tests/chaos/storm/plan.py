"""What goes wrong, in which order, and when: fixed by a seed, and bound to progress.

Progress and not time: on a slow machine the faults come later, and each of them still finds
something to harm.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

LONG_PAUSE = 120.0
"""Seconds. When such a worker goes on, the traces that it worked on have been removed."""


@dataclass(frozen=True, order=True)
class Blow:
    """One thing that goes wrong."""

    at: float
    """The share of the traces that have ended when it does."""
    what: Literal["kill", "pause", "server"]
    seconds: float = 0.0
    """How long a pause lasts, or a server is away."""


def plan_of(
    chooser: random.Random, *, kills: int, pauses: int, servers: int, long: int, lease: float
) -> list[Blow]:
    """So many of each kind, in order; every pause is longer than the lease."""
    # Long pauses begin early, so that the storm still goes on when they end.
    plan = [Blow(chooser.uniform(0.03, 0.3), "pause", LONG_PAUSE) for _ in range(long)]
    for _ in range(pauses - long):
        length = lease * chooser.uniform(1.3, 3.0)
        plan.append(Blow(chooser.uniform(0.02, 0.95), "pause", length))
    plan += [Blow(chooser.uniform(0.01, 0.97), "kill") for _ in range(kills)]
    for number in range(servers):
        at = (number + chooser.uniform(0.2, 0.8)) / servers
        plan.append(Blow(min(0.96, at), "server", chooser.uniform(0.1, 1.5)))
    return sorted(plan)
