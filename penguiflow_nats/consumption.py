"""A running pull of a durable consumer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from penguiflow.durable.log import Backlog, LogDelivery, LogUnavailable
from penguiflow_nats.consumer_watch import ConsumerWatch
from penguiflow_nats.delivery import JetStreamDelivery
from penguiflow_nats.errors import NatsError
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.puller import ConsumerGone, Puller
from penguiflow_nats.stream_message import StreamMessage
from penguiflow_nats.stream_types import ConsumerConfig
from penguiflow_nats.subjects import Names

logger = logging.getLogger("penguiflow.nats")


class JetStreamConsumption:
    """A puller as a `Consumption`, and the watch over its consumer.

    Args:
        jetstream: JetStream of the tenant's account.
        names: What the flow is called on the server.
        config: The consumer, which is there.
        deliver: Takes each entry.
        window: Entries asked for or in hand at most.
        on_gone: Told by name when the consumer was deleted or is of no use any more.
    """

    __slots__ = ("_puller", "_watch")

    def __init__(
        self,
        jetstream: JetStream,
        names: Names,
        config: ConsumerConfig,
        deliver: Callable[[LogDelivery], None],
        *,
        window: int,
        on_gone: Callable[[str], Any],
    ) -> None:
        def gone(report: ConsumerGone) -> None:
            self._watch.gone(
                f"consumer {report.consumer} of stream {report.stream}: {report.reason}"
            )

        def received(message: StreamMessage) -> None:
            deliver(JetStreamDelivery(names, message))

        self._puller = Puller(
            jetstream.connection,
            stream=names.log_stream,
            consumer=config.durable_name,
            deliver=received,
            window=window,
            on_gone=gone,
        )
        self._watch = ConsumerWatch(
            jetstream,
            stream=names.log_stream,
            wanted=config,
            on_gone=on_gone,
            on_changed=_changed,
        )

    def start(self) -> None:
        """Begin to pull."""
        self._puller.start()
        self._watch.start()

    def release(self) -> None:
        self._puller.release()

    def pause(self) -> None:
        self._puller.pause()

    async def stop(self) -> None:
        await self._watch.stop()
        await self._puller.stop()

    async def backlog(self) -> Backlog:
        try:
            info = await self._puller.consumer_info()
        except NatsError as problem:
            raise LogUnavailable(str(problem)) from problem
        return Backlog(info.num_pending, info.num_ack_pending)


def _changed(line: str) -> None:
    logger.error("changed by somebody else: %s", line)
