"""A running pull of a durable consumer."""

from __future__ import annotations

from penguiflow.durable.log import Backlog, LogUnavailable
from penguiflow_nats.errors import NatsError
from penguiflow_nats.puller import Puller


class JetStreamConsumption:
    """A puller as a `Consumption`."""

    __slots__ = ("_puller",)

    def __init__(self, puller: Puller) -> None:
        self._puller = puller

    def release(self) -> None:
        self._puller.release()

    def pause(self) -> None:
        self._puller.pause()

    async def stop(self) -> None:
        await self._puller.stop()

    async def backlog(self) -> Backlog:
        try:
            info = await self._puller.consumer_info()
        except NatsError as problem:
            raise LogUnavailable(str(problem)) from problem
        return Backlog(info.num_pending, info.num_ack_pending)
