"""What a running task has yet to react to."""

from __future__ import annotations

import asyncio

from penguiflow.state.tasks import SteeringEvent, SteeringEventType


class SteeringInbox:
    """A bounded queue of steering events for one task.

    CANCEL, PAUSE and RESUME act when they are pushed, whether or not there is room for them.
    A `maxsize` of zero or less is no bound.
    """

    def __init__(self, *, maxsize: int = 100, max_pending_user_messages: int = 2) -> None:
        self._queue: asyncio.Queue[SteeringEvent] = asyncio.Queue(maxsize)
        self._max_user_messages = max_pending_user_messages
        self._user_messages = 0
        self._cancel_event = asyncio.Event()
        self._cancel_reason: str | None = None
        self._may_run = asyncio.Event()
        self._may_run.set()

    @property
    def cancelled(self) -> bool:
        """Whether a CANCEL arrived."""
        return self._cancel_event.is_set()

    @property
    def cancel_reason(self) -> str | None:
        """The reason that the first CANCEL gave, or "cancelled"; None before one arrived."""
        return self._cancel_reason

    @property
    def cancel_event(self) -> asyncio.Event:
        """Set once a CANCEL arrived."""
        return self._cancel_event

    @property
    def paused(self) -> bool:
        """Whether `wait_if_paused` would wait."""
        return not self._may_run.is_set()

    def has_event(self) -> bool:
        """Whether `next` would return at once."""
        return not self._queue.empty()

    async def push(self, event: SteeringEvent) -> bool:
        """Add an event; False when the inbox is full, or has too many user messages."""
        self._act_on(event)
        is_user_message = event.event_type is SteeringEventType.USER_MESSAGE
        if is_user_message and self._user_messages >= self._max_user_messages:
            return False
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            return False
        self._user_messages += is_user_message
        return True

    async def next(self) -> SteeringEvent:
        """Take the oldest event; waits for one."""
        return self._taken(await self._queue.get())

    def drain(self) -> list[SteeringEvent]:
        """Take everything there is, oldest first."""
        events: list[SteeringEvent] = []
        while not self._queue.empty():
            events.append(self._taken(self._queue.get_nowait()))
        return events

    async def wait_if_paused(self) -> None:
        """Wait while the task is paused. Returns on RESUME, and on CANCEL: look at `cancelled`."""
        await self._may_run.wait()

    def _act_on(self, event: SteeringEvent) -> None:
        match event.event_type:
            case SteeringEventType.CANCEL:
                if not self.cancelled:
                    reason = event.payload.get("reason")
                    self._cancel_reason = str(reason) if reason else "cancelled"
                self._cancel_event.set()
                self._may_run.set()
            case SteeringEventType.PAUSE if not self.cancelled:
                self._may_run.clear()
            case SteeringEventType.RESUME:
                self._may_run.set()
            case _:
                pass

    def _taken(self, event: SteeringEvent) -> SteeringEvent:
        self._user_messages -= event.event_type is SteeringEventType.USER_MESSAGE
        return event
