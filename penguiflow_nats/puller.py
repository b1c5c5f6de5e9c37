"""A continuous pull from one consumer: never more than `window` messages asked for or in hand."""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from functools import partial
from typing import NamedTuple

from penguiflow_nats import error_codes
from penguiflow_nats.connection import Connection
from penguiflow_nats.errors import ApiError, NatsError, PermissionDenied
from penguiflow_nats.jetstream import JetStream
from penguiflow_nats.stream_message import StreamMessage
from penguiflow_nats.stream_types import ConsumerInfo
from penguiflow_nats.subscription import Subscription

logger = logging.getLogger("penguiflow.nats")

_HEARTBEAT, _REQUEST_TIMEOUT = 100, 408
_SPENT = frozenset({"batch completed", "message size exceeds maxbytes", "no messages"})
_MOVED = frozenset({"leadership change", "server shutdown"})
_GONE = frozenset({error_codes.CONSUMER_NOT_FOUND, error_codes.STREAM_NOT_FOUND})
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_TIMER_SLACK = 0.002


class ConsumerGone(NamedTuple):
    """Why a consumer does not deliver any more."""

    stream: str
    consumer: str
    reason: str


class PullStatistics(NamedTuple):
    """Counters of one puller."""

    pulls: int
    """Pull requests sent."""
    delivered: int
    """Messages handed to the owner."""
    handed_back: int
    """Messages that arrived after `stop` and were given back."""
    renewed: int
    """Times the pull was begun anew: silence, reconnect, or an answer that ends it."""


class _Generation:
    """What was asked for on one inbox. Answers on an older inbox say nothing about the present."""

    __slots__ = ("asked", "heard_at", "heard_delivered", "inbox", "subscription")

    def __init__(self, inbox: str) -> None:
        self.inbox = inbox
        self.asked = 0
        self.heard_at = 0.0
        self.heard_delivered = 0
        self.subscription: Subscription | None = None


class _Pauses:
    """Growing pauses between pulls that fail, with jitter so that workers spread."""

    __slots__ = ("failures", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.until = 0.0

    def begin(self, now: float) -> None:
        pause = min(_FIRST_PAUSE * 2**self.failures, _LONGEST_PAUSE)
        pause *= random.uniform(0.75, 1.0)  # noqa: S311 - spreads load, guards nothing
        self.failures = min(self.failures + 1, 16)
        self.until = now + pause


class Puller:
    """Pulls from a durable consumer until stopped, over reconnects and restarts.

    The owner gets each message through `deliver` and calls `release` when it is settled. A consumer
    that is gone is reported once by name; pulling goes on with pauses, in case it comes back.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        stream: str,
        consumer: str,
        deliver: Callable[[StreamMessage], None],
        window: int = 256,
        on_gone: Callable[[ConsumerGone], None] | None = None,
        heartbeat: float = 0.5,
        expires: float = 30.0,
        api_prefix: str = "$JS.API",
        ack_prefix: str = "$JS.ACK.",
    ) -> None:
        """Prepare; `start` begins.

        Args:
            connection: The connection.
            stream: Name of the stream.
            consumer: Name of the pull consumer.
            deliver: Called with each message, synchronously.
            window: Messages asked for or in hand at most.
            on_gone: Told once when the consumer cannot deliver: deleted, forbidden, misconfigured.
            heartbeat: Seconds between the server's signs of life; twice that (and a bit) of
                silence begins the pull anew.
            expires: Seconds that a pull request lives.
            api_prefix: First tokens of the API's subjects; another one for an imported account.
            ack_prefix: How the ack subjects begin; another one for an imported account.

        Raises:
            ValueError: The window is not positive, or heartbeats would not fit into a pull.
        """
        if window < 1 or not 0 < 2 * heartbeat < expires:
            msg = "need window >= 1 and 0 < 2 x heartbeat < expires"
            raise ValueError(msg)
        self.stream = stream
        self.consumer = consumer
        self.window = window
        self._connection = connection
        self._deliver = deliver
        self._on_gone = on_gone
        self._heartbeat = heartbeat
        self._ack_prefix = ack_prefix
        self._subject = f"{api_prefix}.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        times = (round(expires * 1e9), round(heartbeat * 1e9))
        self._tail = b',"expires":%d,"idle_heartbeat":%d}' % times
        self._jetstream = JetStream(connection, prefix=api_prefix)
        self._inbox = connection.new_inbox()
        self._loop = asyncio.get_running_loop()
        self._current = _Generation("")
        self._refill = max(1, window // 4)
        self._in_hand = 0
        self._running = self._stopping = self._paused = self._reported = False
        self._inspection: asyncio.Task[None] | None = None
        self._pauses = _Pauses()
        self._pulls = self._delivered = self._handed_back = self._renewed = 0
        self._timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._unregister: list[Callable[[], None]] = []

    @property
    def in_hand(self) -> int:
        """Messages that were delivered and not released yet."""
        return self._in_hand

    @property
    def asked(self) -> int:
        """Messages that the server may still send without being asked again."""
        return self._current.asked

    @property
    def statistics(self) -> PullStatistics:
        """A snapshot of the counters."""
        return PullStatistics(self._pulls, self._delivered, self._handed_back, self._renewed)

    async def consumer_info(self) -> ConsumerInfo:
        """Describe the consumer. Raises `NatsError` as every request does."""
        return await self._jetstream.consumer_info(self.stream, self.consumer)

    def start(self) -> None:
        """Begin to pull. Without a connection it begins as soon as there is one."""
        if self._running or self._stopping:
            return
        self._running = True
        self._unregister = [
            self._connection.on_disconnect(self._disconnected),
            self._connection.on_reconnect(self._renew),
            self._connection.on_denied(self._denied),
        ]
        self._renew()
        self._check()

    def release(self, count: int = 1) -> None:
        """Say that delivered messages are settled, which makes room for new ones."""
        self._in_hand -= count
        room = self.window - self._current.asked - self._in_hand
        if room >= self._refill or not self._current.asked:
            self._ask()

    def pause(self) -> None:
        """Ask for no more, and take back what was asked. What is on its way still comes."""
        if not self._paused:
            self._paused = True
            self._retire()

    def resume(self) -> None:
        """Go on after `pause`."""
        if self._paused:
            self._paused = False
            if self._running:
                self._renew()

    async def stop(self, timeout: float = 1.0) -> None:
        """End asking, and hand back what still arrives. What is in hand stays the owner's.

        Args:
            timeout: Longest wait in seconds for what is on its way.
        """
        self._running = False
        self._stopping = True
        for unregister in self._unregister:
            unregister()
        for timer in (self._timer, self._retry):
            if timer is not None:
                timer.cancel()
        if self._inspection is not None:
            self._inspection.cancel()
        self._retire(timeout)
        while self._tasks:
            await asyncio.wait(self._tasks)

    # Asking

    def _ask(self) -> None:
        current = self._current
        room = self.window - current.asked - self._in_hand
        if room <= 0 or (current.asked and room < self._refill):
            return
        if not self._running or self._paused or current.subscription is None:
            return
        now = self._loop.time()
        if now + _TIMER_SLACK < self._pauses.until:
            return
        try:
            body = b'{"batch":%d' % room + self._tail
            self._connection.publish(self._subject, body, reply=current.inbox)
        except NatsError:
            return  # the reconnect begins anew
        if not current.asked:
            current.heard_at = now
        current.asked += room
        self._pulls += 1

    def _renew(self) -> None:
        """Begin a new generation, on a new inbox: what the old one asked for is void."""
        self._retire()
        if not self._running or self._paused or not self._connection.is_connected:
            return
        self._renewed += 1
        generation = _Generation(f"{self._inbox}.{self._renewed}")
        # The subscription goes first on the wire; the server drops pulls without a listener.
        generation.subscription = self._connection.subscribe(
            generation.inbox, partial(self._receive, generation), kind=StreamMessage
        )
        self._current = generation
        self._ask()

    def _retire(self, timeout: float = 1.0) -> None:
        old, self._current = self._current, _Generation("")
        if old.subscription is not None:
            self._spawn(old.subscription.drain(timeout))

    def _back_off(self) -> None:
        self._pauses.begin(self._loop.time())
        self._renew()
        if self._retry is not None:
            self._retry.cancel()
        self._retry = self._loop.call_at(self._pauses.until, self._ask)

    def _disconnected(self) -> None:
        # Nothing of this generation can come any more, and its inbox must not get interest again:
        # the server may still hold the old pulls.
        old, self._current = self._current, _Generation("")
        if old.subscription is not None:
            old.subscription.unsubscribe()

    def _check(self) -> None:
        """Notice silence."""
        now = self._loop.time()
        current = self._current
        if current.heard_delivered != self._delivered:
            current.heard_delivered = self._delivered
            current.heard_at = now
        elif current.asked > 0 and now - current.heard_at > 2 * self._heartbeat + 0.2:
            logger.info("pull from %s/%s fell silent, begun anew", self.stream, self.consumer)
            self._renew()
        elif not current.asked:
            self._ask()
        self._timer = self._loop.call_later(self._heartbeat / 2, self._check)

    # Hearing

    def _receive(self, generation: _Generation, message: StreamMessage) -> None:
        # By the reply subject, never by a header: any publisher may write a `Status` header.
        if not message.reply.startswith(self._ack_prefix):
            if generation is self._current:
                self._status(generation, message)
            return
        message.connection = self._connection
        generation.asked -= 1
        # What an older generation asked for may come besides what the present one did.
        if self._stopping or self._in_hand >= self.window:
            self._handed_back += 1
            message.nak()
            return
        self._in_hand += 1
        self._delivered += 1
        try:
            self._deliver(message)
        except Exception:
            logger.exception("deliver of %s/%s raised", self.stream, self.consumer)
            message.nak(delay=1.0)
            self.release()
        if not generation.asked:
            self._ask()
        if self._pauses.failures or self._reported:
            self._recovered()

    def _status(self, generation: _Generation, message: StreamMessage) -> None:
        code, description = message.status_line()
        text = description.lower()
        if code == _HEARTBEAT:
            generation.heard_at = self._loop.time()
            self._recovered()
        elif code == _REQUEST_TIMEOUT or text in _SPENT:
            generation.heard_at = self._loop.time()
            unused = (message.headers or {}).get("Nats-Pending-Messages", "")
            generation.asked -= int(unused) if unused.isdigit() else generation.asked
            generation.asked = max(0, generation.asked)
            self._ask()
        elif text in _MOVED:
            self._back_off()
        else:
            self._back_off()
            self._inspect(f"{code} {description}".strip())

    def _recovered(self) -> None:
        self._pauses.failures = 0
        self._reported = False

    def _denied(self, subject: str) -> None:
        if subject.lower() == self._subject.lower():
            self._back_off()
            self._report(str(PermissionDenied(self._subject)))

    # Finding out why

    def _inspect(self, answer: str) -> None:
        if self._running and self._inspection is None and not self._reported:
            self._inspection = self._spawn(self._find_out(answer))

    async def _find_out(self, answer: str) -> None:
        """Ask whether the consumer is gone: the same answers also come while a server starts."""
        try:
            info = await self._jetstream.consumer_info(self.stream, self.consumer)
        except ApiError as error:
            if error.err_code in _GONE:
                self._report(error.description)
        except PermissionDenied:
            self._report(f"the server answered {answer!r}")
        except NatsError as error:
            logger.debug("consumer %s/%s: %s", self.stream, self.consumer, error)
        else:
            if info.config.deliver_subject or answer.startswith(("400", "409 Exceeded")):
                self._report(f"the server answered {answer!r}")
        finally:
            self._inspection = None

    def _report(self, reason: str) -> None:
        if self._reported or self._stopping:
            return
        self._reported = True
        logger.error("consumer %s/%s is gone: %s", self.stream, self.consumer, reason)
        if self._on_gone is not None:
            self._on_gone(ConsumerGone(self.stream, self.consumer, reason))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
