"""Deadlines between a client's clock and the log's.

In the log a deadline is an instant of the log's own clock. A client counts in its own: what it
submits keeps the time that is left, and what it fetches is told in its own terms again.
"""

from __future__ import annotations

from typing import Any

from penguiflow.clock import Clock
from penguiflow.durable.log import Log
from penguiflow.types import Message

_SAME = 0.05
"""Seconds by which two clocks may differ and count as one; estimates are not exact."""


class Deadlines:
    """The deadlines of one client.

    Args:
        log: Whose clock counts.
        clock: The client's clock.
    """

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    async def submitted(self, value: Any) -> Any:
        """A value as it goes into the log."""
        if not isinstance(value, Message) or value.deadline_s is None:
            return value
        await self._log.synchronise()
        return _moved(value, self._ahead())

    def fetched(self, value: Any) -> Any:
        """A value from the log."""
        if not isinstance(value, Message) or value.deadline_s is None:
            return value
        return _moved(value, -self._ahead())

    def _ahead(self) -> float:
        """Seconds by which the log's clock is ahead."""
        ahead = self._log.server_time() - self._clock.now()
        return 0.0 if abs(ahead) < _SAME else ahead


def _moved(message: Message, seconds: float) -> Message:
    if not seconds or message.deadline_s is None:
        return message
    return message.model_copy(update={"deadline_s": message.deadline_s + seconds})
