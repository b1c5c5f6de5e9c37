"""The receiving end of the bus: deliveries that their worker settles."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import Self

from penguiflow.bus import BusEnvelope
from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.wire_errors import MalformedValue, UnknownType
from penguiflow.settle import settle_entry
from penguiflow_nats.bus_wire import BusMessage, unpack_message
from penguiflow_nats.errors import NatsError, NotConnected, OutcomeUnknown
from penguiflow_nats.puller import ConsumerGone, Puller
from penguiflow_nats.stream_message import StreamMessage

logger = logging.getLogger("penguiflow.nats")

_LATER = 30.0
"""Seconds after which a message whose type is not known here is offered again, to anybody."""


class BusConsumerGone(NatsError):
    """The consumer does not deliver any more: it was deleted, or is forbidden.

    Attributes:
        consumer: Its name.
    """

    def __init__(self, consumer: str, reason: str) -> None:
        super().__init__(f"consumer {consumer!r} is gone: {reason}")
        self.consumer = consumer


class BusDelivery:
    """One message in the hands of a worker. It is settled once; what comes after has no effect."""

    __slots__ = ("_message", "_puller", "_settled", "message")

    def __init__(self, message: StreamMessage, content: BusMessage, puller: Puller) -> None:
        self._message = message
        self._puller = puller
        self._settled = False
        self.message: BusMessage = content

    @property
    def envelope(self) -> BusEnvelope:
        """What was published."""
        return self.message.envelope

    @property
    def message_id(self) -> str:
        """The identity of the publication: the key for side effects that must happen once."""
        return self.message.message_id

    @property
    def num_delivered(self) -> int:
        """How often it was delivered, this time included."""
        return self._message.num_delivered

    async def ack(self) -> None:
        """Done. Returns when the server has confirmed it.

        Raises:
            OutcomeUnknown: It has not; the message may be delivered again.
        """
        if self._settle():
            try:
                await self._message.ack()
            except OutcomeUnknown:
                await self._message.ack()  # the first confirmation may just have been lost

    async def nak(self, delay: float = 0.0) -> None:
        """Deliver it again, after `delay` seconds."""
        if self._settle():
            with suppress(NotConnected):  # the lease ends by itself
                self._message.nak(delay)

    async def term(self, reason: str = "") -> None:
        """Never deliver it to this group again."""
        if self._settle():
            with suppress(NotConnected):
                self._message.term(reason)

    def in_progress(self) -> None:
        """Let the lease begin anew."""
        if not self._settled:
            with suppress(NotConnected):
                self._message.in_progress()

    def _settle(self) -> bool:
        first, self._settled = not self._settled, True
        if first:
            self._puller.release()
        return first


class BusConsumer:
    """Gives deliveries in the order in which they come: `async for`, or `next`."""

    def __init__(self, codec: ValueCodec, tenant: str) -> None:
        """Prepare; `start` begins."""
        self._codec = codec
        self._tenant = tenant
        self._ready: deque[BusDelivery] = deque()
        self._news = asyncio.Event()
        self._gone: ConsumerGone | None = None
        self._puller: Puller | None = None
        self._refusals: set[asyncio.Task[None]] = set()

    def start(self, puller: Puller) -> None:
        """Begin to pull."""
        self._puller = puller
        puller.start()

    async def stop(self) -> None:
        """End, and give back what nobody has taken."""
        if self._puller is not None:
            await self._puller.stop()
        while self._ready:
            await settle_entry(self._ready.popleft(), again_after=0.0)
        while self._refusals:
            await asyncio.wait(self._refusals)

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> BusDelivery:
        """The next delivery; waits for it."""
        delivery = await self.next()
        if delivery is None:
            raise StopAsyncIteration
        return delivery

    async def next(self, timeout: float | None = None) -> BusDelivery | None:
        """The next delivery; None when none came in time.

        Args:
            timeout: Longest wait in seconds; None is without end.

        Raises:
            BusConsumerGone: The consumer was deleted, or is forbidden.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self._ready:
                    if self._gone is not None:
                        raise BusConsumerGone(self._gone.consumer, self._gone.reason)
                    self._news.clear()
                    await self._news.wait()
        return self._ready.popleft() if self._ready else None

    def gone(self, report: ConsumerGone) -> None:
        """The puller says that nothing comes any more."""
        self._gone = report
        self._news.set()

    def deliver(self, message: StreamMessage) -> None:
        """The puller hands over a message."""
        puller = self._puller
        if puller is None:
            return
        self._gone = None
        try:
            content = unpack_message(message.data, self._codec)
            if content.tenant != self._tenant:
                msg = f"tenant {content.tenant!r} on the bus of {self._tenant!r}"
                raise MalformedValue(msg)  # noqa: TRY301 - refused as all that is malformed
        except MalformedValue as error:
            self._refuse(message, error, puller)
            return
        self._ready.append(BusDelivery(message, content, puller))
        self._news.set()

    def _refuse(self, message: StreamMessage, error: MalformedValue, puller: Puller) -> None:
        """Bytes that are no message never will be; a type that is unknown here may be elsewhere."""
        logger.warning("bus: message %s refused: %s", message.subject, error)
        empty = BusEnvelope("", None, None, None, None, None, None)
        delivery = BusDelivery(message, BusMessage(empty, "", self._tenant, 0.0), puller)
        if isinstance(error, UnknownType):
            settling = settle_entry(delivery, again_after=_LATER)
        else:
            settling = settle_entry(delivery, dead=str(error))
        task = asyncio.ensure_future(settling)
        self._refusals.add(task)
        task.add_done_callback(self._refusals.discard)


__all__ = ["BusConsumer", "BusConsumerGone", "BusDelivery"]
