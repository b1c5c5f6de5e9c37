"""Subscriptions that live longer than the link under them."""

import asyncio
from collections.abc import Callable
from typing import Any

from penguiflow_nats.incoming import Incoming
from penguiflow_nats.link import Interest, Link


class Subscription:
    """Interest in a subject that survives reconnects, until it is ended.

    Attributes:
        subject: The subject, possibly with wildcards.
        queue: Queue group, or "".
        denied: Whether the server refused it.
    """

    __slots__ = ("_all", "_interest", "callback", "denied", "kind", "queue", "subject")

    def __init__(
        self,
        all_of_them: "Subscriptions",
        subject: str,
        queue: str,
        callback: Callable[[Any], None],
        kind: type[Incoming],
    ) -> None:
        self._all = all_of_them
        self.subject: str = subject
        self.queue: str = queue
        self.callback: Callable[[Any], None] = callback
        self.kind: type[Incoming] = kind
        self.denied = False
        self._interest: Interest | None = None

    def attach(self, link: Link) -> None:
        """Subscribe on a link."""
        self.denied = False
        self._interest = link.subscribe(self.subject, self.queue, self.callback, self.kind)

    def detach(self) -> None:
        """The link is gone."""
        self._interest = None

    def unsubscribe(self) -> None:
        """End it. Messages on their way are dropped. Again: no effect."""
        interest, link = self._end()
        if interest is not None and link is not None:
            link.unsubscribe(interest)

    async def drain(self, timeout: float = 1.0) -> None:
        """End it after what is on its way was delivered.

        Args:
            timeout: Longest wait in seconds; after it the rest is dropped.
        """
        interest, link = self._end()
        if interest is None or link is None:
            return
        draining = asyncio.ensure_future(link.drain(interest))
        try:
            await asyncio.wait({draining}, timeout=timeout)
        finally:
            if not draining.done():
                draining.cancel()
                link.unsubscribe(interest)

    def _end(self) -> tuple[Interest | None, Link | None]:
        interest, self._interest = self._interest, None
        self._all.forget(self)
        return interest, self._all.link


class Subscriptions:
    """All subscriptions of one connection."""

    def __init__(self) -> None:
        """Begin with none, and without a link."""
        self.link: Link | None = None
        self._all: dict[Subscription, None] = {}

    def add(
        self, subject: str, queue: str, callback: Callable[[Any], None], kind: type[Incoming]
    ) -> Subscription:
        """Create one, on the link if there is one."""
        subscription = Subscription(self, subject, queue, callback, kind)
        self._all[subscription] = None
        if self.link is not None:
            subscription.attach(self.link)
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """Do not attach this one again."""
        self._all.pop(subscription, None)

    def attach(self, link: Link) -> None:
        """Subscribe everything on a new link."""
        self.link = link
        for subscription in self._all:
            subscription.attach(link)

    def detach(self) -> None:
        """The link is gone."""
        self.link = None
        for subscription in self._all:
            subscription.detach()

    def deny(self, subject: str) -> None:
        """The server refused a subject, given in any spelling of case."""
        for subscription in self._all:
            if subscription.subject.lower() == subject.lower():
                subscription.denied = True

    def end(self) -> None:
        """End all of them."""
        for subscription in list(self._all):
            subscription.unsubscribe()
