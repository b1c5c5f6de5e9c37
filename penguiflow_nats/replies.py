"""Waiting requests: who gets which answer, and who has waited long enough.

All answers of a connection arrive on one inbox `<prefix>.*`; the last token names the request. A
request costs one future and one dictionary entry: no task, no timer. Tokens count upwards, so
within one timeout the oldest request stands first, and a periodic `sweep` that notes "at this
moment the count stood at n" finds all overdue ones without a clock reading per request.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from penguiflow_nats.errors import NatsError, NoResponders, OutcomeUnknown
from penguiflow_nats.incoming import Incoming

Decode: TypeAlias = Callable[[Incoming], Any]
Waiter: TypeAlias = tuple[asyncio.Future[Any], str, Decode | None]

_NO_RESPONDERS = 503


class _Queue:
    """Requests that share one timeout, the oldest first."""

    __slots__ = ("marks", "timeout", "waiting")

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.waiting: dict[str, Waiter] = {}
        self.marks: deque[tuple[float, int]] = deque()

    def take_overdue(self, now: float, count: int) -> list[Waiter]:
        limit = -1
        while self.marks and self.marks[0][0] <= now - self.timeout:
            limit = self.marks.popleft()[1]
        self.marks.append((now, count))
        overdue = []
        for token in self.waiting:
            if int(token.partition("x")[0]) > limit:
                break
            overdue.append(token)
        return [self.waiting.pop(token) for token in overdue]


class _Collector:
    """A request with more than one answer."""

    __slots__ = ("done", "future", "heard", "subject", "timeout")

    def __init__(
        self,
        future: asyncio.Future[None],
        subject: str,
        done: Callable[[Incoming], bool],
        timeout: float,
    ) -> None:
        self.future = future
        self.subject = subject
        self.done = done
        self.timeout = timeout
        self.heard = True


class Replies:
    """The requests of one connection that wait for an answer."""

    def __init__(self, timeout: float) -> None:
        """Create an empty set.

        Args:
            timeout: Seconds that a request waits when it does not say otherwise.
        """
        self.count = 0
        self.timeouts = 0
        self._default = _Queue(timeout)
        self._others: dict[str, _Queue] = {}
        self._collectors: dict[str, _Collector] = {}
        self._silent_since: dict[str, float] = {}

    def __len__(self) -> int:
        others = sum(len(queue.waiting) for queue in self._others.values())
        return len(self._default.waiting) + others + len(self._collectors)

    def next_token(self, timeout: float | None) -> str:
        """Name a new request; `timeout` in seconds, rounded up to a tenth."""
        self.count += 1
        if timeout is None or timeout == self._default.timeout:
            return str(self.count)
        return f"{self.count}x{max(1, -int(-timeout * 10 // 1))}"

    def add(self, token: str, waiter: Waiter) -> None:
        """Let a request wait."""
        tenths = token.partition("x")[2]
        if not tenths:
            self._default.waiting[token] = waiter
            return
        queue = self._others.get(tenths)
        if queue is None:
            queue = self._others[tenths] = _Queue(int(tenths) / 10)
        queue.waiting[token] = waiter

    def collect(
        self,
        token: str,
        future: asyncio.Future[None],
        subject: str,
        done: Callable[[Incoming], bool],
        timeout: float,
    ) -> None:
        """Let a request with several answers wait; `timeout` is the longest silence in seconds."""
        self._collectors[token] = _Collector(future, subject, done, timeout)

    def receive(self, token: str, message: Incoming) -> None:
        """Hand an answer to its request. Late and unknown ones are dropped."""
        waiter = self._default.waiting.pop(token, None)
        if waiter is None:
            collector = self._collectors.get(token)
            if collector is not None:
                self._gather(token, collector, message)
                return
            queue = self._others.get(token.partition("x")[2])
            waiter = queue.waiting.pop(token, None) if queue is not None else None
            if waiter is None:
                return
        future, subject, decode = waiter
        if future.done():
            return
        if message.head is not None and message.status == _NO_RESPONDERS:
            future.set_exception(NoResponders(subject))
        elif decode is None:
            future.set_result(message)
        else:
            _settle(future, decode, message)

    def _gather(self, token: str, collector: _Collector, message: Incoming) -> None:
        collector.heard = True
        future = collector.future
        try:
            if message.head is not None and message.status == _NO_RESPONDERS:
                raise NoResponders(collector.subject)
            if not future.done() and not collector.done(message):
                return
        except NatsError as error:
            if not future.done():
                future.set_exception(error)
        del self._collectors[token]
        if not future.done():
            future.set_result(None)

    def sweep(self, now: float) -> None:
        """Fail whoever waits too long; `now` in seconds of the event loop's clock."""
        overdue = self._default.take_overdue(now, self.count)
        for tenths, queue in list(self._others.items()):
            overdue += queue.take_overdue(now, self.count)
            if not queue.waiting:
                del self._others[tenths]
        for token, collector in list(self._collectors.items()):
            if collector.heard:
                collector.heard = False
                self._silent_since[token] = now
            elif now - self._silent_since[token] >= collector.timeout:
                del self._collectors[token]
                overdue.append((collector.future, collector.subject, None))
        for token in self._silent_since.keys() - self._collectors.keys():
            del self._silent_since[token]
        self.timeouts += len(overdue)
        for future, subject, _ in overdue:
            if not future.done():
                future.set_exception(OutcomeUnknown(subject, "no answer in time"))

    def fail_all(self, error: Callable[[str], NatsError]) -> None:
        """Fail every request with the error that `error` makes for its subject."""
        self._fail(error, lambda subject: True)

    def deny(self, subject: str, error: Callable[[str], NatsError]) -> bool:
        """Fail the requests to `subject` (in any spelling of case); False if there are none."""
        wanted = subject.lower()
        return self._fail(error, lambda candidate: candidate.lower() == wanted) > 0

    def _fail(self, error: Callable[[str], NatsError], matches: Callable[[str], bool]) -> int:
        failed = 0
        for queue in (self._default, *self._others.values()):
            for token, (future, subject, _) in list(queue.waiting.items()):
                if matches(subject):
                    del queue.waiting[token]
                    failed += 1
                    if not future.done():
                        future.set_exception(error(subject))
        for token, collector in list(self._collectors.items()):
            if matches(collector.subject):
                del self._collectors[token]
                failed += 1
                if not collector.future.done():
                    collector.future.set_exception(error(collector.subject))
        return failed


def _settle(future: asyncio.Future[Any], decode: Decode, message: Incoming) -> None:
    try:
        result = decode(message)
    except Exception as error:  # noqa: BLE001 - whatever a decoder raises belongs to its caller
        future.set_exception(error)
    else:
        future.set_result(result)
