"""Notices what somebody else does to a consumer while its worker runs.

A pull that is waiting hears at once that its consumer was deleted. A worker whose places are all
taken waits for nothing and would not hear, and nobody is told that a consumer was reconfigured. So
the consumer is looked at now and then.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from penguiflow.async_tasks import end_tasks
from penguiflow_nats import error_codes
from penguiflow_nats.errors import ApiError, ConnectionClosed, NatsError, PermissionDenied
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.stream_types import ConsumerConfig, ConsumerInfo
from penguiflow_nats.topology_diff import Change, consumer_changes

logger = logging.getLogger("penguiflow.nats")

_EVERY = 1.5
"""Seconds between two looks, at most; with the answer it is noticed within 2."""
_FATAL = frozenset(("filter_subjects", "ack_policy", "deliver_policy", "deliver_subject"))
"""Settings with which the consumer is not the worker's any more."""


class ConsumerWatch:
    """Looks at one consumer until stopped.

    Args:
        jetstream: JetStream of the account.
        stream: The consumer's stream.
        wanted: The consumer as it should be.
        on_gone: Told once, by name, that it was deleted or is of no use any more.
        on_changed: Told once of each other change, by name.
        every: Seconds between two looks, at most.
    """

    def __init__(
        self,
        jetstream: JetStream,
        *,
        stream: str,
        wanted: ConsumerConfig,
        on_gone: Callable[[str], object],
        on_changed: Callable[[str], object],
        every: float = _EVERY,
    ) -> None:
        self._jetstream = jetstream
        self._stream = stream
        self._wanted = wanted
        self._on_gone = on_gone
        self._on_changed = on_changed
        self._every = every
        self._created = ""
        self._said: set[str] = set()
        self._is_gone = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        name = f"penguiflow:watch:{self._wanted.durable_name}"
        self._task = asyncio.create_task(self._run(), name=name)

    def gone(self, reason: str) -> None:
        """The pull found out by itself."""
        self._is_gone = True
        self._on_gone(reason)

    async def stop(self) -> None:
        """End. Idempotent."""
        await end_tasks(self._task)

    async def _run(self) -> None:
        while True:
            try:
                await self._look()
            except (PermissionDenied, ConnectionClosed) as error:
                logger.info("consumer %s is not watched: %s", self._wanted.durable_name, error)
                return
            except NatsError as error:  # the server is away; the pull knows what to do
                logger.debug("consumer %s: %s", self._wanted.durable_name, error)
            await asyncio.sleep(self._every * random.uniform(0.7, 1.0))  # noqa: S311

    async def _look(self) -> None:
        name = self._wanted.durable_name
        try:
            info = await self._jetstream.consumer_info(self._stream, name)
        except ApiError as error:
            missing = (error_codes.CONSUMER_NOT_FOUND, error_codes.STREAM_NOT_FOUND)
            if error.err_code in missing and not self._is_gone:
                self.gone(f"consumer {name} of stream {self._stream}: {error.description}")
            return
        self._is_gone = False
        self._compare(info)

    def _compare(self, info: ConsumerInfo) -> None:
        changes = list(consumer_changes(self._wanted, info))
        lines = [change.line() for change in changes]
        if self._created and info.created != self._created:
            lines.append(f"consumer {info.name}: it was deleted and made anew")
        if info.paused:
            lines.append(f"consumer {info.name}: it is paused; nothing is delivered")
        self._created = info.created
        news = [line for line in lines if line not in self._said]
        # What was put right may be changed again, and is news then.
        self._said = set(lines)
        fatal = {change.line() for change in changes if _is_fatal(change)}
        for line in news:
            (self._on_gone if line in fatal else self._on_changed)(line)


def _is_fatal(change: Change) -> bool:
    if change.field != "filter_subjects":
        return change.field in _FATAL
    return not set(change.wanted) <= set(change.found)


__all__ = ["ConsumerWatch"]
