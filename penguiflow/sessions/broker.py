"""Updates to everybody who listens in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from penguiflow.state.tasks import StateUpdate, UpdateType

_URGENT = frozenset(
    {UpdateType.RESULT, UpdateType.ERROR, UpdateType.NOTIFICATION, UpdateType.STATUS_CHANGE}
)


@dataclass(frozen=True, eq=False)
class _Subscriber:
    queue: asyncio.Queue[StateUpdate]
    task_ids: frozenset[str] | None
    update_types: frozenset[UpdateType] | None

    def wants(self, update: StateUpdate) -> bool:
        return (self.task_ids is None or update.task_id in self.task_ids) and (
            self.update_types is None or update.update_type in self.update_types
        )

    def offer(self, update: StateUpdate) -> None:
        if self.queue.full():
            if update.update_type not in _URGENT:
                return
            self.queue.get_nowait()
        self.queue.put_nowait(update)


class UpdateBroker:
    """Hands updates to subscribers and waits for none of them.

    At a full queue an update that nobody may miss (result, error, notification, status change)
    takes the place of the oldest; any other is dropped. `max_queue_size` zero or less: no bound.
    """

    def __init__(self, *, max_queue_size: int = 0) -> None:
        self._max_queue_size = max_queue_size
        self._subscribers: dict[_Subscriber, None] = {}

    async def subscribe(
        self,
        *,
        task_ids: Iterable[str] | None = None,
        update_types: Iterable[UpdateType] | None = None,
    ) -> tuple[asyncio.Queue[StateUpdate], Callable[[], Awaitable[None]]]:
        """Hear of the updates published from now on.

        Args:
            task_ids: Only of these tasks.
            update_types: Only of these types.

        Returns:
            The queue of updates, and an async function that ends the subscription; calling it
            again is harmless.
        """
        subscriber = _Subscriber(
            asyncio.Queue(self._max_queue_size),
            None if task_ids is None else frozenset(task_ids),
            None if update_types is None else frozenset(update_types),
        )
        self._subscribers[subscriber] = None

        async def unsubscribe() -> None:
            self._subscribers.pop(subscriber, None)

        return subscriber.queue, unsubscribe

    def publish(self, update: StateUpdate) -> None:
        """Hand the update to every subscriber that wants it."""
        for subscriber in self._subscribers:
            if subscriber.wants(update):
                subscriber.offer(update)


__all__ = ["UpdateBroker"]
