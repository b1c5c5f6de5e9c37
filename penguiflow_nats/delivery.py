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

_SHORT = 9
"""Tokens of `$JS.ACK.<stream>.<consumer>.<five numbers>`, the form of a server without domains."""


class JetStreamDelivery:
    """A stream message as a `LogDelivery`."""

    __slots__ = ("_message", "num_delivered", "stored")

    def __init__(self, names: Names, message: StreamMessage) -> None:
        # The ack subject ends in: delivered, stream and consumer sequence, time, pending; and, in
        # its longer forms, a random token behind them, which `info` knows how to take off.
        tokens = message.reply.split(".")
        if len(tokens) == _SHORT:
            delivered, sequence, stored_at = int(tokens[4]), int(tokens[5]), int(tokens[7])
        else:
            info = message.info
            delivered, sequence = info.num_delivered, info.stream_sequence
            stored_at = info.timestamp_ns
        self._message = message
        self.num_delivered = delivered
        key = names.key(message.subject)
        self.stored = Stored(key, sequence, stored_at / 1e9, message.data)

    async def ack(self) -> None:
        # Not confirmed: it changes nothing that counts. What the input led to is in the log before,
        # and a redelivery finds it there (decision 4).
        try:
            self._message.connection.publish(self._message.reply, b"+ACK")
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
