"""The one place that settles deliveries."""

from __future__ import annotations

from penguiflow.decide import Outcome, Settlement
from penguiflow.invocation import Delivery


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
