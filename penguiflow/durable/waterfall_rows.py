"""Which rows a waterfall is shown in, and the words for its times. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from penguiflow.durable.waterfall import Hop, Waterfall

FOLD = 8
"""Hops of one node at one depth, beyond which those that do not matter are one row."""

Labels = Mapping[tuple[str, str], str]
"""What the input of a hop is, by node and input id; for readers who know nothing of ids."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Hops of one node at one depth that are shown as one row."""

    hops: tuple[Hop, ...]

    @property
    def node(self) -> str:
        """The node of all of them."""
        return self.hops[0].node

    @property
    def depth(self) -> int:
        """The depth of all of them."""
        return self.hops[0].depth

    @property
    def arrived(self) -> float:
        """When the first of their inputs came."""
        return min(hop.arrived for hop in self.hops)

    @property
    def ended(self) -> float:
        """When the last of their records came."""
        return max(hop.ended for hop in self.hops)

    def span(self) -> str:
        """The shortest and the longest time of work."""
        times = [hop.duration for hop in self.hops]
        return f"{clock(min(times))} to {clock(max(times))}"


def rows_of(waterfall: Waterfall, *, limit: int | None = FOLD) -> Iterator[Hop | Fold]:
    """The rows, from the ingress on.

    What made the trace as long as it is, what was delivered again, what failed and what is still
    waited for is always shown by itself.

    Args:
        waterfall: What to show.
        limit: Hops of one node at one depth up to which all are shown; None shows all.
    """
    for hops in waterfall.levels():
        if limit is None or len(hops) <= limit:
            yield from hops
            continue
        alone = [hop for hop in hops if _matters(hop, waterfall)]
        yield from alone
        shown = {hop.number for hop in alone}
        folded = tuple(hop for hop in hops if hop.number not in shown)
        if len(folded) == 1:
            yield folded[0]
        elif folded:
            yield Fold(folded)


def _matters(hop: Hop, waterfall: Waterfall) -> bool:
    return hop.number in waterfall.critical or hop.is_redelivered or hop.outcome != "ok"


def clock(seconds: float) -> str:
    """A time in the unit that suits it, always short."""
    if seconds >= 600:
        return f"{seconds / 60:.0f} min"
    if seconds >= 100:
        return f"{seconds:.0f} s"
    if seconds >= 10:
        return f"{seconds:.1f} s"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    if seconds >= 0.01:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds * 1000:.1f} ms"


def facts(waterfall: Waterfall) -> str:
    """The whole trace in half a sentence."""
    hops, workers = len(waterfall.hops), len(waterfall.workers)
    again = sum(hop.is_redelivered for hop in waterfall.hops)
    waiting = sum(not hop.is_settled for hop in waterfall.hops)
    parts = [
        f"{waterfall.status.value} after {clock(waterfall.seconds)}",
        f"{hops} hop{'s' * (hops != 1)}",
        f"{workers} worker{'s' * (workers != 1)}",
        f"{again} redelivered",
    ]
    if waiting:
        parts.append(f"{waiting} waiting")
    return ", ".join(parts)


__all__ = ["FOLD", "Fold", "Labels", "clock", "facts", "rows_of"]
