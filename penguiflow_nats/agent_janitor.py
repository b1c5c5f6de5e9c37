"""Removes tasks when their retention is over. Any replica of any agent does it for all."""

from __future__ import annotations

import asyncio
import contextlib

from penguiflow.durable.wire_errors import WireError
from penguiflow.settle import settle_entry
from penguiflow_nats.agent_delivery import CallDelivery
from penguiflow_nats.call_claims import CallClaims
from penguiflow_nats.call_subjects import CallNames, task_of
from penguiflow_nats.call_wire import read_record
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import NatsError
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.persist import persist
from penguiflow_nats.puller import Puller
from penguiflow_nats.server_clock import ServerClock
from penguiflow_nats.stream_message import StreamMessage
from penguiflow_nats.stream_types import SECOND, ConsumerConfig

_NAME = "janitor"
_WINDOW = 256
"""Ends that a replica waits for at once. They come in the order in which they are due."""
_LEASE = 60.0


class Janitor:
    """Waits for each end's retention, then removes the task's request, states and events."""

    def __init__(
        self,
        connection: Connection,
        jetstream: JetStream,
        names: CallNames,
        *,
        clock: ServerClock,
        claims: CallClaims,
    ) -> None:
        self._jetstream = jetstream
        self._names = names
        self._clock = clock
        self._claims = claims
        self._tasks: dict[asyncio.Task[None], CallDelivery] = {}
        self._puller = Puller(
            connection,
            stream=names.replies_stream,
            consumer=_NAME,
            deliver=self._deliver,
            window=_WINDOW,
        )
        self._renewal: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Join the consumer that all janitors of the tenant share."""
        config = ConsumerConfig(
            durable_name=_NAME,
            filter_subject=self._names.states,
            ack_wait=round(_LEASE * SECOND),
            max_ack_pending=8192,
        )
        await self._jetstream.create_consumer(self._names.replies_stream, config)
        self._puller.start()
        self._renewal = asyncio.create_task(self._renew(), name="penguiflow:janitor")

    async def stop(self) -> None:
        """Hand back what is not due yet."""
        self._puller.pause()
        if self._renewal is not None:
            self._renewal.cancel()
        tasks = dict(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for delivery in tasks.values():
            await settle_entry(delivery, again_after=0.0)
        await self._puller.stop()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_LEASE / 3)
            for delivery in self._tasks.values():
                delivery.in_progress()

    def _deliver(self, message: StreamMessage) -> None:
        delivery = CallDelivery(message)
        task = asyncio.create_task(self._remove(delivery))
        self._tasks[task] = delivery
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._puller.release()
        if not task.cancelled():
            task.exception()  # the lease ends, and the end is delivered again

    async def _remove(self, delivery: CallDelivery) -> None:
        try:
            record = read_record(delivery.data)
        except WireError:
            record = None  # whoever wrote it: the stream's own limits will remove it
        if record is not None and record.is_end:
            await asyncio.sleep(record.retain - self._clock.age(delivery.stored_at))
            await self.forget(record.agent, task_of(delivery.subject))
            with contextlib.suppress(NatsError):  # it ends by its own time as well
                await self._claims.release(record.result)
        await settle_entry(delivery)

    async def forget(self, agent: str, task: str) -> None:
        """Remove a task at once."""
        await forget(self._jetstream, self._names, agent, task)


async def forget(jetstream: JetStream, names: CallNames, agent: str, task: str) -> None:
    """Remove everything of a task: the request first, or it could be taken for a new one."""

    async def purge(stream: str, subject: str) -> None:
        try:
            await persist(
                jetstream.connection,
                lambda: jetstream.purge_stream(stream, subject=subject),
                limit=30.0,
            )
        except NatsError:
            return  # the streams' age limit is the net

    await purge(names.calls_stream, names.request(agent or "*", task))
    await purge(names.replies_stream, names.answers(task))


__all__ = ["Janitor", "forget"]
