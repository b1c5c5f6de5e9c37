"""What a caller holds of a subscription."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from penguiflow_nats.incoming import Incoming
from penguiflow_nats.link import Interest, Link


class _Owner(Protocol):
    @property
    def link(self) -> Link | None: ...

    def forget(self, subscription: "Subscription") -> None: ...


class Subscription:
    """Interest in a subject that survives reconnects, until it is ended.

    Attributes:
        subject: The subject, possibly with wildcards.
        queue: Queue group, or "".
        denied: Whether the server refused it.
    """

    __slots__ = ("_owner", "callback", "denied", "interest", "kind", "queue", "subject")

    def __init__(
        self,
        owner: _Owner,
        subject: str,
        queue: str,
        callback: Callable[[Any], None],
        kind: type[Incoming],
    ) -> None:
        self._owner = owner
        self.subject = subject
        self.queue = queue
        self.callback = callback
        self.kind = kind
        self.denied = False
        self.interest: Interest | None = None

    def attach(self, link: Link) -> None:
        """Subscribe on a new link."""
        self.denied = False
        self.interest = link.subscribe(self.subject, self.queue, self.callback, self.kind)

    def unsubscribe(self) -> None:
        """End it. Messages on their way are dropped. Again: no effect."""
        interest = self._end()
        link = self._owner.link
        if interest is not None and link is not None:
            link.unsubscribe(interest)

    async def drain(self, timeout: float = 1.0) -> None:
        """End it after what is on its way was delivered.

        Args:
            timeout: Longest wait in seconds; after it the rest is dropped.
        """
        interest = self._end()
        link = self._owner.link
        if interest is None or link is None:
            return
        draining = asyncio.ensure_future(link.drain(interest))
        try:
            await asyncio.wait({draining}, timeout=timeout)
        finally:
            if not draining.done():
                draining.cancel()
                link.unsubscribe(interest)

    def _end(self) -> Interest | None:
        interest, self.interest = self.interest, None
        self._owner.forget(self)
        return interest
