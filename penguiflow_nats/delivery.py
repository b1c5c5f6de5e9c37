"""An entry of the JetStream log in the hands of one worker.

The headers of an entry are fences and trace context for the server; all that a worker needs is in
the envelope, so they are not even parsed here.
"""

from __future__ import annotations

import contextlib

from penguiflow.durable.log import Stored
from penguiflow_nats.errors import NatsError
from penguiflow_nats.stream_message import StreamMessage
from penguiflow_nats.subjects import Names


class JetStreamDelivery:
    """A stream message as a `LogDelivery`."""

    __slots__ = ("_message", "num_delivered", "stored")

    def __init__(self, names: Names, message: StreamMessage) -> None:
        info = message.info
        self._message = message
        self.num_delivered = info.num_delivered
        self.stored = Stored(
            names.key(message.subject),
            info.stream_sequence,
            info.timestamp_ns / 1e9,
            message.data,
        )

    async def ack(self) -> None:
        # Not confirmed: it changes nothing that counts. What the input led to is in the log before,
        # and a redelivery finds it there (decision 4).
        try:
            self._message.ack_nowait()
        except NatsError:
            return

    async def nak(self, delay: float = 0.0) -> None:
        with contextlib.suppress(NatsError):  # the lease ends by itself
            self._message.nak(delay)

    async def term(self, reason: str) -> None:
        with contextlib.suppress(NatsError):
            self._message.term(reason)

    def in_progress(self) -> None:
        with contextlib.suppress(NatsError):
            self._message.in_progress()
