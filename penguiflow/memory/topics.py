"""Broadcasts inside one process: heard by whoever listens now, lost for everybody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penguiflow.memory.matching import check_topic, hears

_MAX_UNHEARD = 65_536
"""Broadcasts on their way to one listener. Beyond it they are dropped, as for a slow client."""


class MemorySubscription:
    """One listener."""

    def __init__(self, topics: Topics, topic: str, heard: Callable[[str, bytes], None]) -> None:
        self.topic = topic
        self._topics = topics
        self._heard = heard
        self._unheard = 0
        self.is_active: bool = True

    async def unsubscribe(self) -> None:
        self.end()

    def end(self) -> None:
        self.is_active = False
        self._topics.remove(self)

    def tell(self, topic: str, data: bytes) -> None:
        if self._unheard < _MAX_UNHEARD:
            self._unheard += 1
            asyncio.get_running_loop().call_soon(self._arrive, topic, data)

    def _arrive(self, topic: str, data: bytes) -> None:
        self._unheard -= 1
        if self.is_active:
            self._heard(topic, data)


class Topics:
    """Who listens to what."""

    def __init__(self) -> None:
        # A dict for its order: listeners hear in the order in which they came.
        self._subscriptions: dict[MemorySubscription, None] = {}

    def broadcast(self, topic: str, data: bytes) -> None:
        check_topic(topic, wildcard=False)
        for subscription in self._subscriptions:
            if hears(subscription.topic, topic):
                subscription.tell(topic, data)

    def listen(self, topic: str, heard: Callable[[str, bytes], None]) -> MemorySubscription:
        check_topic(topic, wildcard=True)
        subscription = MemorySubscription(self, topic, heard)
        self._subscriptions[subscription] = None
        return subscription

    def remove(self, subscription: MemorySubscription) -> None:
        self._subscriptions.pop(subscription, None)
