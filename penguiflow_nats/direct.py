"""A link that writes frames straight into the client's send buffer.

Nothing is awaited on the way, so everything of one turn of the event loop leaves in one write.
Reading stays nats-py's. Used only with versions whose internals are known (`natspy`).
"""

# The private names below are those that `natspy.internals_known` checks.
# ruff: noqa: SLF001

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsPySubscription

from penguiflow_nats.incoming import Incoming
from penguiflow_nats.link import Callback, Interest, ignore
from penguiflow_nats.protocol import publish_frame

EAGER = 32 * 1024
"""Bytes that are written at once, in the middle of a turn of the loop: the server works on them
while this process goes on. Waiting for the end of a long turn would make the two take turns."""


class DirectLink:
    """See `Link` for what the methods promise."""

    def __init__(self, client: Client, on_callback_error: Callable[[str, Exception], None]) -> None:
        """Take a connected client over."""
        self.client = client
        self._on_callback_error = on_callback_error
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._interests: set[Interest] = set()
        # nats-py marks it done after a write; one that is done already is left alone.
        self._kick: asyncio.Future[None] = self._loop.create_future()
        self._kick.set_result(None)

    def publish(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None, reply: str
    ) -> None:
        """Send without waiting."""
        client = self.client
        frame = publish_frame(subject, reply, payload, headers, client._max_payload)
        client._pending.append(frame)
        client._pending_data_size += len(frame)
        if client._pending_data_size >= EAGER:
            self._write_out()
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._write_out)
        stats = client.stats
        stats["out_msgs"] += 1
        stats["out_bytes"] += len(payload)

    def _send(self, frame: bytes) -> None:
        client = self.client
        client._pending.append(frame)
        client._pending_data_size += len(frame)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._write_out)

    def _write_out(self) -> None:
        self._scheduled = False
        client = self.client
        writer: asyncio.StreamWriter = client._transport._io_writer  # type: ignore[union-attr]
        if not client.is_connected or not client._pending or writer.is_closing():
            return
        if writer.transport.get_write_buffer_size():
            # The socket is full. nats-py's flusher waits for it, and then writes all there is.
            queue = client._flush_queue
            if queue is not None and queue.empty():
                queue.put_nowait(self._kick)
        else:
            self._hand_over(writer)

    def _hand_over(self, writer: asyncio.StreamWriter) -> None:
        client = self.client
        writer.writelines(client._pending)
        client._pending = []
        client._pending_data_size = 0

    def subscribe(
        self, subject: str, queue: str, callback: Callback, kind: type[Incoming]
    ) -> Interest:
        """Ask for messages."""
        interest = Interest(subject, queue, callback, kind)
        client = self.client
        client._sid += 1
        interest.sid = b"%d" % client._sid

        async def deliver(message: Msg) -> None:
            self._deliver(interest, message)

        interest.nats_py = NatsPySubscription(client, client._sid, subject, queue=queue, cb=deliver)
        interest.nats_py._start(client._error_cb)  # type: ignore[no-untyped-call]
        client._subs[client._sid] = interest.nats_py
        self._interests.add(interest)
        self._send(f"SUB {subject} {queue} ".encode() + interest.sid + b"\r\n")
        return interest

    def _deliver(self, interest: Interest, message: Msg) -> None:
        incoming = interest.kind(message.subject, message.reply, message.data, message.headers)
        try:
            interest.callback(incoming)
        except Exception as error:  # noqa: BLE001 - one bad message must not deafen the subscription
            self._on_callback_error(interest.subject, error)

    def unsubscribe(self, interest: Interest) -> None:
        """Hear no more, also not what is on its way."""
        if interest in self._interests:
            self._send(b"UNSUB " + interest.sid + b"\r\n")
            self._forget(interest)

    async def drain(self, interest: Interest) -> None:
        """Ask for no more, hear what is on its way, then end."""
        if interest in self._interests:
            self._send(b"UNSUB " + interest.sid + b"\r\n")
            await self.barrier()
            if interest.nats_py is not None:
                await interest.nats_py._pending_queue.join()
            self._forget(interest)

    def _forget(self, interest: Interest) -> None:
        self._interests.discard(interest)
        interest.callback = ignore
        if interest.nats_py is not None:
            interest.nats_py._closed = True
            interest.nats_py._stop_processing()
            self.client._remove_sub(int(interest.sid))

    async def barrier(self) -> None:
        """Wait until the server has processed everything sent before."""
        client = self.client
        answered: asyncio.Future[Any] = self._loop.create_future()
        # Answers are matched by order, and nats-py writes its own pings past the buffer. So
        # everything goes out now, and the ping takes its place in both queues at one moment.
        writer: asyncio.StreamWriter = client._transport._io_writer  # type: ignore[union-attr]
        self._hand_over(writer)
        writer.write(b"PING\r\n")
        client._pongs.append(answered)
        # Shielded: a cancelled future in that queue would end nats-py's read loop.
        await asyncio.shield(answered)

    async def flush(self) -> None:
        """Wait until the bytes sent before are handed to the operating system."""
        done: asyncio.Future[Any] = self._loop.create_future()
        queue = self.client._flush_queue
        if queue is not None:
            await queue.put(done)
            await done

    @property
    def pending_bytes(self) -> int:
        """Bytes that were not handed to the operating system yet."""
        client = self.client
        writer: asyncio.StreamWriter = client._transport._io_writer  # type: ignore[union-attr]
        return client._pending_data_size + writer.transport.get_write_buffer_size()

    def retire(self) -> None:
        """End the link's subscriptions; the client is not closed."""
        for interest in list(self._interests):
            if self.client.is_connected:
                self._send(b"UNSUB " + interest.sid + b"\r\n")
            self._forget(interest)
