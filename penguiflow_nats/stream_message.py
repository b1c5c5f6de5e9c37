"""A message of a stream, with the verbs that settle it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from penguiflow_nats.errors import NotConnected
from penguiflow_nats.incoming import Incoming, Reply

if TYPE_CHECKING:
    from penguiflow_nats.connection import Connection


class DeliveryInfo(NamedTuple):
    """What the ack subject says about one delivery."""

    stream: str
    consumer: str
    num_delivered: int
    """How often the consumer delivered it, this time included; a nak counts too."""
    stream_sequence: int
    consumer_sequence: int
    timestamp_ns: int
    """When the server stored it, in nanoseconds since 1970."""
    num_pending: int
    """Messages of the consumer that were not delivered yet."""


def parse_ack_subject(reply: str) -> DeliveryInfo:
    """Read an ack subject, in the short form or the one with domain and account.

    Its first tokens may be renamed by an import (`JS.acme.ACK.` for `$JS.ACK.`).

    Raises:
        ValueError: It is neither.
    """
    tokens = reply.partition(".ACK.")[2].split(".")
    if len(tokens) in (9, 10):
        tokens = tokens[2:9]
    if len(tokens) != 7:
        msg = f"not an ack subject: {reply!r}"
        raise ValueError(msg)
    stream, consumer, *numbers = tokens
    return DeliveryInfo(stream, consumer, *map(int, numbers))


class StreamMessage(Incoming, eq=False):
    """One delivery of a stream's message.

    Attributes:
        connection: The connection it came through; the verbs go back that way.
    """

    connection: Connection = None  # type: ignore[assignment]  # set before anybody sees it
    _info: DeliveryInfo | None = None

    @property
    def info(self) -> DeliveryInfo:
        """The numbers of this delivery, parsed on first use."""
        if self._info is None:
            self._info = parse_ack_subject(self.reply)
        return self._info

    @property
    def stream_sequence(self) -> int:
        """Position in the stream."""
        return self.info.stream_sequence

    @property
    def consumer_sequence(self) -> int:
        """Number of this delivery among all of the consumer."""
        return self.info.consumer_sequence

    @property
    def num_delivered(self) -> int:
        """How often the consumer delivered it, this time included; a nak counts too."""
        return self.info.num_delivered

    @property
    def timestamp_ns(self) -> int:
        """When the server stored it, in nanoseconds since 1970."""
        return self.info.timestamp_ns

    @property
    def num_pending(self) -> int:
        """Messages of the consumer that were not delivered yet."""
        return self.info.num_pending

    def ack(self, *, timeout: float | None = None) -> asyncio.Future[Reply]:
        """Settle it for good, with the server's confirmation.

        The confirmation proves that the server took the ack, not that the lease was still ours.

        Args:
            timeout: Seconds to wait for the confirmation.

        Returns:
            A future that fails as that of `Connection.request` does; `OutcomeUnknown` means that
            a redelivery may come.
        """
        return self.connection.request(self.reply, b"+ACK", timeout=timeout)

    def nak(self, delay: float = 0.0) -> None:
        """Ask for a redelivery after `delay` seconds. If it is lost, the lease has to run out."""
        if delay > 0:
            self._tell(b'-NAK {"delay": %d}' % round(delay * 1e9))
        else:
            self._tell(b"-NAK")

    def term(self, reason: str = "") -> None:
        """Ask never to redeliver it. If that is lost, a redelivery comes."""
        self._tell(f"+TERM {reason}".rstrip().encode())

    def in_progress(self) -> None:
        """Ask for the lease to start anew. If that is lost, the lease goes on as it was."""
        self._tell(b"+WPI")

    def _tell(self, verb: bytes) -> None:
        # Without a connection the lease simply runs out, which is what the verb cannot prevent.
        try:
            self.connection.publish(self.reply, verb)
        except NotConnected:
            return
