"""A subscription in the log's words."""

from __future__ import annotations

from penguiflow_nats.subscription import Subscription


class Listening:
    """A subscription to broadcasts, as the log hands it out."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    async def unsubscribe(self) -> None:
        """End it. Idempotent."""
        self._subscription.unsubscribe()
