"""The one place that settles deliveries."""

from __future__ import annotations

from typing import Protocol

from penguiflow.decide import Outcome, Settlement
from penguiflow.invocation import Delivery


class Entry(Protocol):
    """A delivery of the log, before it is the input of a node."""

    async def ack(self) -> None: ...

    async def nak(self, delay: float = 0.0) -> None: ...

    async def term(self, reason: str) -> None: ...


async def settle(delivery: Delivery, outcome: Outcome) -> None:
    """Tell the edge what became of the delivery. The last step of its run."""
    match outcome.settlement:
        case Settlement.ACK:
            await delivery.ack()
        case Settlement.RETRY:
            await delivery.nak(outcome.delay)
        case Settlement.HAND_BACK:
            await delivery.nak(outcome.delay, attempted=False)
        case Settlement.DEAD:
            await delivery.term(outcome.reason)


async def settle_entry(
    entry: Entry, *, again_after: float | None = None, dead: str | None = None
) -> None:
    """Settle an entry that no node ran for: done, again after a while, or dead."""
    if dead is not None:
        await entry.term(dead)
    elif again_after is not None:
        await entry.nak(again_after)
    else:
        await entry.ack()
