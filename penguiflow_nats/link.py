"""One life of a connection: a nats-py client that is connected and reads.

`Link` is what `Connection` needs from it. `PublicLink` satisfies it with nats-py's public interface
alone; `DirectLink` (and the grafted one in `fastpath`) do the same with less work per message.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsPySubscription
from nats.errors import Error as NatsPyError

from penguiflow_nats.incoming import Incoming
from penguiflow_nats.protocol import publish_frame

logger = logging.getLogger("penguiflow.nats")

_FOR_EVER = 10**9
"""Seconds; the end of the link comes first."""

Callback = Callable[[Any], None]


class Interest:
    """A subscription as one link knows it."""

    __slots__ = ("callback", "kind", "nats_py", "queue", "sid", "subject")

    def __init__(self, subject: str, queue: str, callback: Callback, kind: type[Incoming]) -> None:
        self.subject: str = subject
        self.queue: str = queue
        self.callback: Callback = callback
        self.kind: type[Incoming] = kind
        self.sid: bytes = b""
        self.nats_py: NatsPySubscription | None = None


class Link(Protocol):
    """What a connection needs of one life.

    Guarantees:
        What is published and subscribed takes effect in the order of the calls.
    """

    @property
    def client(self) -> Client:
        """The connected client."""

    def publish(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None, reply: str
    ) -> None:
        """Send without waiting.

        Raises:
            PayloadTooLarge: The server would close the connection over it.
            InvalidSubject: Subject or reply would break the protocol line.
            InvalidHeader: A header would break the header block.
        """

    def subscribe(
        self, subject: str, queue: str, callback: Callback, kind: type[Incoming]
    ) -> Interest:
        """Ask for messages; each is handed to `callback` as a `kind`."""

    def unsubscribe(self, interest: Interest) -> None:
        """Hear no more, also not what is on its way."""

    async def drain(self, interest: Interest) -> None:
        """Ask for no more, hear what is on its way, then end."""

    async def barrier(self) -> None:
        """Wait until the server has processed everything sent before."""

    async def flush(self) -> None:
        """Wait until the bytes sent before are handed to the operating system."""

    @property
    def pending_bytes(self) -> int:
        """Bytes that were not handed to the operating system yet."""

    def retire(self) -> None:
        """End the link's subscriptions and tasks; the client is not closed."""


class PublicLink:
    """A link over nats-py's public interface: one writer task keeps the order of the calls."""

    def __init__(self, client: Client, on_callback_error: Callable[[str, Exception], None]) -> None:
        """Take a connected client over."""
        self.client = client
        self._on_callback_error = on_callback_error
        self._outbox: deque[tuple[int, Callable[[], Awaitable[Any]]]] = deque()
        self._outbox_bytes = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._interests: set[Interest] = set()
        self._ending: asyncio.Task[None] | None = None
        self._working: set[asyncio.Task[None]] = set()
        self._writer = asyncio.create_task(self._write())

    def publish(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None, reply: str
    ) -> None:
        """See `Link`."""
        client = self.client
        # nats-py would replace line breaks silently, so the frame is built to be checked.
        size = len(publish_frame(subject, reply, payload, headers, client.max_payload))
        head = dict(headers) if headers else None
        self._put(size, lambda: client.publish(subject, payload, reply, head))

    def _put(self, size: int, call: Callable[[], Awaitable[Any]]) -> None:
        self._outbox.append((size, call))
        self._outbox_bytes += size
        self._emptied.clear()
        self._filled.set()

    async def _write(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._outbox:
                size, call = self._outbox.popleft()
                try:
                    await call()
                except Exception as error:  # noqa: BLE001 - one failure must not end all sending
                    # The connection is about to be declared lost, which fails every waiter.
                    logger.debug("send failed: %r", error)
                self._outbox_bytes -= size
            self._emptied.set()

    def subscribe(
        self, subject: str, queue: str, callback: Callback, kind: type[Incoming]
    ) -> Interest:
        """See `Link`."""
        interest = Interest(subject, queue, callback, kind)

        self._interests.add(interest)

        async def deliver(message: Msg) -> None:
            self._deliver(interest, message)

        async def subscribe() -> None:
            interest.nats_py = await self.client.subscribe(subject, queue=queue, cb=deliver)

        self._put(len(subject), subscribe)
        return interest

    def _deliver(self, interest: Interest, message: Msg) -> None:
        incoming = interest.kind(message.subject, message.reply, message.data, message.headers)
        try:
            interest.callback(incoming)
        except Exception as error:  # noqa: BLE001 - one bad message must not deafen the subscription
            self._on_callback_error(interest.subject, error)

    def unsubscribe(self, interest: Interest) -> None:
        """See `Link`."""
        interest.callback = ignore
        self._interests.discard(interest)
        self._put(1, lambda: self._end(interest, drain=False))

    async def drain(self, interest: Interest) -> None:
        """See `Link`."""
        done = asyncio.get_running_loop().create_future()

        async def start() -> None:
            done.set_result(None)

        self._put(1, start)
        await done
        await self._undisturbed(self._end(interest, drain=True))
        self._interests.discard(interest)

    async def _undisturbed(self, work: Coroutine[None, None, None]) -> None:
        """Await work that waits for a PONG inside nats-py.

        Never cancelled while the client lives: it would end its read loop with the late answer.
        """
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        await asyncio.shield(task)

    @staticmethod
    async def _end(interest: Interest, *, drain: bool) -> None:
        subscription = interest.nats_py
        if subscription is not None:
            interest.nats_py = None
            ends: dict[bool, Callable[[], Awaitable[None]]]
            ends = {True: subscription.drain, False: subscription.unsubscribe}
            await ends[drain]()

    async def barrier(self) -> None:
        """See `Link`."""
        await self.flush()
        # nats-py's PING overtakes what its flusher has not written yet.
        while self.client.pending_data_size > 0:  # noqa: ASYNC110 - nats-py tells nobody
            await asyncio.sleep(0.001)
        await self._undisturbed(self.client.flush(timeout=_FOR_EVER))

    async def flush(self) -> None:
        """See `Link`."""
        await self._emptied.wait()

    @property
    def pending_bytes(self) -> int:
        """See `Link`."""
        return self._outbox_bytes + self.client.pending_data_size

    def retire(self) -> None:
        """See `Link`."""
        self._writer.cancel()
        for task in self._working:
            task.cancel()
        for interest in self._interests:
            interest.callback = ignore
        self._ending = asyncio.create_task(self._end_all())

    async def _end_all(self) -> None:
        while self._interests:
            with contextlib.suppress(NatsPyError, OSError):
                await self._end(self._interests.pop(), drain=False)


def ignore(message: Incoming) -> None:
    """Drop a message that was on its way when its subscription ended."""
