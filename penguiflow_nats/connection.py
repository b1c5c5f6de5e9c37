"""A connection to NATS that answers, outlives its servers, and says what it does not know."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self, TypeVar, overload

from nats.aio.client import Client

from penguiflow_nats.errors import (
    ConnectionClosed,
    NatsError,
    NotConnected,
    OutcomeUnknown,
    PermissionDenied,
)
from penguiflow_nats.incoming import Incoming, Reply
from penguiflow_nats.lifeline import Lifeline
from penguiflow_nats.link import Link
from penguiflow_nats.listeners import Listeners
from penguiflow_nats.protocol import check_subject, parse_violation
from penguiflow_nats.replies import Replies
from penguiflow_nats.settings import ConnectionSettings
from penguiflow_nats.statistics import ConnectionStatistics
from penguiflow_nats.subscription import Subscription, Subscriptions
from penguiflow_nats.ticker import Ticker

logger = logging.getLogger("penguiflow.nats")

T = TypeVar("T")


class Connection:
    """One connection, shared by everything that talks to the same account.

    Requests and publishes leave at once and never wait; `writable` is the place to wait when more
    is sent than the network takes. Subscriptions live across reconnects.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        """Prepare, without connecting. Use `open` or `adopt` instead."""
        self.settings = settings
        self._loop = asyncio.get_running_loop()
        self._inbox = f"{settings.inbox_prefix}.{secrets.token_hex(11)}."
        self._inboxes = 0
        self._replies = Replies(self._inbox, settings.request_timeout)
        self._subscriptions = Subscriptions()
        self._on_disconnect = Listeners[[]]()
        self._on_reconnect = Listeners[[]]()
        self._on_denied = Listeners[[str]]()
        self._callback_errors = self._denied = 0
        self._attached = 0
        self._lifeline = Lifeline(settings, self)
        self._ticker = Ticker(self._tick)

    @classmethod
    async def open(cls, settings: ConnectionSettings | None = None) -> Self:
        """Connect.

        Args:
            settings: Where and how; without them the local server.

        Raises:
            ConnectFailed: No server let us in.
            PermissionDenied: The user may not receive answers below `settings.inbox_prefix`.
        """
        connection = cls(settings or ConnectionSettings())
        return await connection._start(connection._lifeline.open())

    @classmethod
    async def adopt(cls, client: Client, settings: ConnectionSettings | None = None) -> Self:
        """Use a nats-py client that the caller owns. It is never closed here.

        Args:
            client: A connected client; it reconnects as its owner configured it.
            settings: Only inbox prefix, request timeout and pending limit count.

        Raises:
            ConnectFailed: The client is not connected.
            PermissionDenied: The user may not receive answers below `settings.inbox_prefix`.
        """
        connection = cls(settings or ConnectionSettings())
        return await connection._start(connection._lifeline.adopt(client))

    async def _start(self, connecting: Any) -> Self:
        answers = self.subscribe(self._inbox + "*", self._replies.receive)
        try:
            await connecting
        except BaseException:
            await self.close()
            raise
        if answers.denied:
            await self.close()
            raise PermissionDenied(answers.subject)
        self._ticker.start()
        return self

    async def __aenter__(self) -> Self:
        """Return itself; it is open already."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Send what is pending, fail what waits with `OutcomeUnknown`, and end."""
        self._ticker.stop()
        self._subscriptions.end()
        await self._lifeline.close()

    @property
    def link(self) -> Link | None:
        """The link in use, None while disconnected."""
        return self._lifeline.link

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent now."""
        return self._lifeline.link is not None

    @property
    def is_closed(self) -> bool:
        """Whether it does not come back."""
        return self._lifeline.closed

    @property
    def client(self) -> Client | None:
        """The nats-py client in use now; another one after each reconnect."""
        link = self._lifeline.link
        return link.client if link is not None else None

    @property
    def last_error(self) -> Exception | None:
        """The last error that nats-py or a reconnect attempt reported."""
        return self._lifeline.last_error

    @property
    def statistics(self) -> ConnectionStatistics:
        """A snapshot of the counters."""
        return ConnectionStatistics(
            requests=self._replies.count,
            waiting=len(self._replies),
            timeouts=self._replies.timeouts,
            callback_errors=self._callback_errors,
            denied=self._denied,
            reconnects=max(0, self._attached - 1),
        )

    def new_inbox(self) -> str:
        """Return an unused subject below this connection's inbox prefix."""
        self._inboxes += 1
        return f"{self._inbox[:-1]}-{self._inboxes}"

    @overload
    def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
        decode: None = None,
    ) -> asyncio.Future[Reply]: ...

    @overload
    def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
        decode: Callable[[Reply], T],
    ) -> asyncio.Future[T]: ...

    def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
        decode: Callable[[Reply], Any] | None = None,
    ) -> asyncio.Future[Any]:
        """Send now, return a future of the answer. Not a coroutine: it never waits.

        Args:
            subject: Where to.
            payload: Message body.
            headers: Message headers.
            timeout: Seconds to wait for the answer, by default `settings.request_timeout`.
            decode: Turns the answer into the result; what it raises fails the future.

        Returns:
            A future of the answer. It fails with `OutcomeUnknown` when time runs out or the
            connection breaks, with `NotConnected` when there is none, with `NoResponders` and
            `PermissionDenied` when the server says so.

        Raises:
            ConnectionClosed: The connection does not come back.
            PayloadTooLarge: Refused here; nothing was sent.
            InvalidSubject: Refused here; nothing was sent.
            InvalidHeader: Refused here; nothing was sent.
        """
        future = self._loop.create_future()
        link = self._lifeline.link
        if link is None:
            self._require_open()
            future.set_exception(NotConnected(subject))
            return future
        reply = self._replies.add(future, subject, decode, timeout)
        try:
            link.publish(subject, payload, headers, reply)
        except NatsError:
            self._replies.withdraw(reply)
            raise
        return future

    def request_many(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        receive: Callable[[Reply], bool],
        timeout: float | None = None,
    ) -> asyncio.Future[None]:
        """Send a request that has several answers.

        Args:
            subject: Where to.
            payload: Message body.
            headers: Message headers.
            receive: Called with each answer; returns whether it was the last one. A `NatsError`
                that it raises fails the future.
            timeout: Longest silence in seconds, by default `settings.request_timeout`.

        Returns:
            A future that ends with the last answer. Both fail as `request` does.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        link = self._lifeline.link
        if link is None:
            self._require_open()
            future.set_exception(NotConnected(subject))
            return future
        silence = self.settings.request_timeout if timeout is None else timeout
        reply = self._replies.collect(future, subject, receive, silence)
        try:
            link.publish(subject, payload, headers, reply)
        except NatsError:
            self._replies.withdraw(reply)
            raise
        return future

    def publish(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        reply: str = "",
    ) -> None:
        """Send now and expect nothing: it may be lost with the connection.

        Raises:
            NotConnected: There is no connection at the moment; nothing was sent.
            NatsError: What `request` raises, for the same reasons.
        """
        link = self._lifeline.link
        if link is None:
            self._require_open()
            raise NotConnected(subject)
        link.publish(subject, payload, headers, reply)

    def subscribe(
        self,
        subject: str,
        callback: Callable[[Any], None],
        *,
        queue: str = "",
        kind: type[Incoming] = Incoming,
    ) -> Subscription:
        """Hear a subject, also after reconnects, until the subscription is ended.

        Args:
            subject: The subject, possibly with wildcards.
            callback: Called with each message, synchronously: it must not block. What it raises
                is logged and counted, and the next message comes all the same.
            queue: Queue group; each message goes to one member of it.
            kind: Class of the messages.

        Raises:
            InvalidSubject: The subject would break the protocol line.
            ConnectionClosed: The connection does not come back.
        """
        self._require_open()
        check_subject(subject)
        if queue:
            check_subject(queue)
        return self._subscriptions.add(subject, queue, callback, kind)

    async def writable(self) -> None:
        """Wait until there is a connection with less than `settings.max_pending_bytes` unsent.

        Raises:
            ConnectionClosed: The connection does not come back.
        """
        while True:
            self._require_open()
            link = self._lifeline.link
            if link is None:
                await self._lifeline.changed()
            elif link.pending_bytes < self.settings.max_pending_bytes:
                return
            else:
                await self._lifeline.within(link, link.flush(), None)

    async def flush(self, timeout: float | None = None) -> None:
        """Wait until the server has processed everything sent so far.

        Args:
            timeout: Longest wait in seconds, by default `settings.request_timeout`.

        Raises:
            OutcomeUnknown: It did not say so in time, or the connection broke.
            ConnectionClosed: The connection does not come back.
        """
        link = self._lifeline.link
        if link is None:
            self._require_open()
            raise NotConnected(subject="flush")
        limit = self.settings.request_timeout if timeout is None else timeout
        if not await self._lifeline.within(link, link.barrier(), limit):
            raise OutcomeUnknown(subject="flush", reason="no answer in time, or lost")

    def on_disconnect(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever the connection is lost; returns how to end that."""
        return self._on_disconnect.add(listener)

    def on_reconnect(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever a lost connection is back; returns how to end that."""
        return self._on_reconnect.add(listener)

    def on_denied(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener` with each subject the server forbids, maybe in lower case."""
        return self._on_denied.add(listener)

    def _require_open(self) -> None:
        if self._lifeline.closed:
            msg = "the connection is closed"
            raise ConnectionClosed(msg)

    def _tick(self, now: float, judge: bool) -> None:
        if judge:
            self._replies.sweep(now)
        self._lifeline.check()

    # What the lifeline tells.

    def attach(self, link: Link) -> None:
        """Subscribe everything on a new link."""
        self._subscriptions.attach(link)

    def attached(self) -> None:
        """Use the new link."""
        self._attached += 1
        if self._attached > 1:
            logger.info("connection is back")
            self._on_reconnect.notify()

    def detached(self, reason: str) -> None:
        """Fail whatever waits."""
        self._subscriptions.detach()
        self._replies.fail_all(partial(OutcomeUnknown, reason=reason))
        self._on_disconnect.notify()

    def reported(self, error: Exception) -> None:
        """Find out whom an error of nats-py concerns; it only has a text."""
        violation = parse_violation(str(error))
        if violation is None:
            logger.debug("nats-py: %s", error)
            return
        self._denied += 1
        action, subject = violation
        logger.warning("permission denied: %s %s", action, subject)
        if action == "publish":
            self._replies.deny(subject, PermissionDenied)
            self._on_denied.notify(subject)
        else:
            self._subscriptions.deny(subject)

    def callback_failed(self, subject: str, error: Exception) -> None:
        """Log and count what a callback raised."""
        self._callback_errors += 1
        logger.error("callback of %s raised", subject, exc_info=error)
