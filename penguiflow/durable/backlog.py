"""Tells an instrument how much there is to do for each hosted node."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from penguiflow.clock import Clock
from penguiflow.durable.log import LogError

if TYPE_CHECKING:
    from penguiflow.durable.lane import Lane
    from penguiflow.telemetry.instrument import FlowInstrument

PERIOD: Final = 5.0
"""Seconds between two looks. One request per hosted node and look."""


async def watch_backlogs(lanes: Sequence[Lane], instrument: FlowInstrument, clock: Clock) -> None:
    """Look again and again, until cancelled. What a log that is away would say stays as it was."""
    while True:
        for lane in lanes:
            if lane.consumption is None:
                continue
            with contextlib.suppress(LogError):
                backlog = await lane.consumption.backlog()
                instrument.backlog(lane.name, backlog.pending, backlog.in_hand)
        await clock.sleep(PERIOD)


__all__ = ["PERIOD", "watch_backlogs"]
