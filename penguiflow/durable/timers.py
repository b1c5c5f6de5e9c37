"""What is for later: it lies in the log as a timer, and is delivered when its time has come.

A timer is an entry like any other: it is committed with the record that it comes from, goes with
its trace when that is cancelled, and holds its own time, by the log's clock. All workers of a flow
share one consumer for the timers. Whoever is handed one that is not due hands it back for as long
as it takes; a log that forgets this asks again earlier, and nothing comes of it.

When it is due, the output or the submission is appended, if the timer is still there, under a key
that follows from the timer's. So it is delivered once, whoever else tries.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from penguiflow.durable import hints
from penguiflow.durable.dead_letters import DeadLetter, DeadLetters, Reason
from penguiflow.durable.envelope import EGRESS, Envelope, decode
from penguiflow.durable.log import (
    AlreadyCommitted,
    Consumption,
    InputGone,
    Key,
    Kind,
    Log,
    LogDelivery,
    LogError,
    Stored,
)
from penguiflow.durable.topology import TIMER_WINDOW, TIMERS
from penguiflow.durable.wire_errors import EnvelopeTooNew, MalformedEnvelope
from penguiflow.events import log_event, tell_failed
from penguiflow.settle import settle_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from penguiflow.durable.host import DurableHost
    from penguiflow.durable.join import DurableJoin

_LONGEST_NAP = 3600.0
"""Seconds after which a timer that is not due is looked at again at the latest."""
_LATER = 1.0
"""Seconds until a timer that the log did not let ring is tried again."""
_LAST = 5.0
"""Seconds for the timers that were on their way when this worker stopped asking."""


async def due_in(log: Log, seconds: float) -> float:
    """The instant of the log's clock that lies so far ahead.

    Raises:
        ValueError: it is no time from now on, or the log keeps nothing for so long.
        LogError: the log does not answer.
    """
    if not (math.isfinite(seconds) and seconds >= 0):
        msg = f"a delay of {seconds!r} s; it must be a number from 0 on"
        raise ValueError(msg)
    keeps = await log.keeps()
    if keeps is not None and seconds >= keeps:
        msg = (
            f"a delay of {seconds:.0f} s: the log keeps entries for {keeps:.0f} s; "
            "delay it less, or give the log's stream a longer max_age"
        )
        raise ValueError(msg)
    await log.synchronise()
    return log.server_time() + seconds


class Timers:
    """A worker's share of the timers of its flow.

    Args:
        host: The host of the flow's nodes here.
        joins: All joins of the flow, by name.
        dead_letters: Where timers go that cannot be read.
        worker: Names this worker in dead letters.
        newer_delay: Seconds for which a timer of a newer version is left to newer workers.
    """

    def __init__(
        self,
        host: DurableHost,
        joins: Mapping[str, DurableJoin],
        dead_letters: DeadLetters,
        *,
        worker: str,
        newer_delay: float,
    ) -> None:
        self._host = host
        self._log = host.log
        self._joins = joins
        self._dead_letters = dead_letters
        self._worker = worker
        self._newer_delay = newer_delay
        self._tasks: set[asyncio.Task[None]] = set()
        self._consumption: Consumption | None = None

    async def start(self, on_gone: Callable[[str], None]) -> None:
        """Join the consumer.

        Raises:
            ValueError: a join waits longer than the log keeps anything.
            LogError: the log does not answer.
        """
        for join in self._joins.values():
            if join.seconds is not None:
                await due_in(self._log, join.seconds)
        spec = self._host.topology.timers()
        self._consumption = await self._log.consume(
            spec, self._deliver, window=TIMER_WINDOW, on_gone=on_gone
        )

    async def stop(self, limit: float) -> None:
        """Take no more, and finish what is in hand, at most `limit` seconds. Idempotent."""
        if self._consumption is None:
            return
        self._consumption.pause()
        await self._finish(limit)
        await self._consumption.stop()
        await self._finish(_LAST)  # what was on its way

    async def _finish(self, limit: float) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=limit)
        late = list(self._tasks)
        for task in late:
            task.cancel()  # its lease ends, and another worker is handed it
        await asyncio.gather(*late, return_exceptions=True)

    def _deliver(self, entry: LogDelivery) -> None:
        task = asyncio.get_running_loop().create_task(self._handle(entry))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, entry: LogDelivery) -> None:
        try:
            await self._look(entry)
        except LogError as problem:
            log_event(logging.WARNING, "timer_waits", {"problem": repr(problem)}, problem)
            await settle_entry(entry, again_after=_LATER)
        except Exception as error:  # noqa: BLE001 - stated outcome: its lease ends, it comes again
            failure = {"node_name": TIMERS, "exception": repr(error)}
            log_event(logging.ERROR, "delivery_not_settled", failure, error)
        finally:
            if self._consumption is not None:
                self._consumption.release()

    async def _look(self, entry: LogDelivery) -> None:
        """Let a timer ring that is due; hand back one that is not."""
        try:
            envelope = decode(entry.stored.data)
        except EnvelopeTooNew:
            await settle_entry(entry, again_after=self._newer_delay)
            return
        except MalformedEnvelope as problem:
            await self._bury(entry, str(problem))
            return
        due = envelope.outputs[0].due if envelope.outputs else None
        if due is None:
            await self._bury(entry, "a timer without a time")
            return
        left = due - self._log.server_time()
        if left > 0:
            await settle_entry(entry, again_after=min(left, _LONGEST_NAP))
            return
        with contextlib.suppress(InputGone):  # cancelled or removed: nothing is left to do
            await self._ring(entry, envelope)
        await settle_entry(entry)

    async def _ring(self, entry: LogDelivery, envelope: Envelope) -> None:
        stored = entry.stored
        if not envelope.outputs[0].targets:
            join = self._joins.get(envelope.node)
            error = None if join is None else await join.time_out(entry, envelope)
            if join is not None and error is not None:
                await tell_failed(self._host.events, join.node, error)
            return
        key = stored.key
        kind = Kind.OUTPUT if key.node else Kind.INGRESS
        delivered = Key(kind, key.trace, key.node, key.input)
        with contextlib.suppress(AlreadyCommitted):
            sequence = await self._log.append(delivered, stored.data, after=stored.position)
            if EGRESS in envelope.outputs[0].targets:
                result = Stored(delivered, sequence, stored.timestamp, stored.data)
                hints.send(self._log, envelope.client, result)

    async def _bury(self, entry: LogDelivery, detail: str) -> None:
        letter = DeadLetter(
            stored=entry.stored,
            node=entry.stored.key.node,
            reason=Reason.MALFORMED,
            detail=detail,
            deliveries=entry.num_delivered,
            worker=self._worker,
        )
        await self._dead_letters.bury(letter)
        failure = {"node_name": TIMERS, "reason": Reason.MALFORMED.value, "detail": detail}
        log_event(logging.ERROR, "dead_letter", {**failure, "trace_id": entry.stored.key.trace})
        await settle_entry(entry, dead=Reason.MALFORMED.value)


__all__ = ["Timers", "due_in"]
