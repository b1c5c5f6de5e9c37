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

    def __init__(self, inbox: str, timeout: float) -> None:
        """Create an empty set.

        Args:
            inbox: Beginning of all reply subjects, with a dot at its end.
            timeout: Seconds that a request waits when it does not say otherwise.
        """
        self.inbox = inbox
        self.count = 0
        self._cut = len(inbox)
        self.timeouts = 0
        self._default = _Queue(timeout)
        self._others: dict[str, _Queue] = {}
        self._collectors: dict[str, _Collector] = {}
        self._silent_since: dict[str, float] = {}

    def __len__(self) -> int:
        others = sum(len(queue.waiting) for queue in self._others.values())
        return len(self._default.waiting) + others + len(self._collectors)

    def add(
        self,
        future: asyncio.Future[Any],
        subject: str,
        decode: Decode | None,
        timeout: float | None,
    ) -> str:
        """Let a request wait.

        Args:
            future: Gets the result.
            subject: Subject of the request.
            decode: Turns the answer into the result.
            timeout: Seconds to wait, rounded up to a tenth.

        Returns:
            The subject for the answer.
        """
        self.count += 1
        if timeout is None or timeout == self._default.timeout:
            token = str(self.count)
            self._default.waiting[token] = (future, subject, decode)
        else:
            tenths = str(max(1, -int(-timeout * 10 // 1)))
            token = f"{self.count}x{tenths}"
            queue = self._others.get(tenths)
            if queue is None:
                queue = self._others[tenths] = _Queue(int(tenths) / 10)
            queue.waiting[token] = (future, subject, decode)
        return self.inbox + token

    def collect(
        self,
        future: asyncio.Future[None],
        subject: str,
        done: Callable[[Incoming], bool],
        timeout: float,
    ) -> str:
        """Let a request with several answers wait.

        Args:
            future: Ends with the last answer.
            subject: Subject of the request.
            done: Called with each answer; returns whether it is the last.
            timeout: Longest silence in seconds.

        Returns:
            The subject for the answers.
        """
        self.count += 1
        token = str(self.count)
        self._collectors[token] = _Collector(future, subject, done, timeout)
        return self.inbox + token

    def withdraw(self, reply: str) -> None:
        """Forget a request that could not be sent."""
        token = reply[self._cut :]
        self._collectors.pop(token, None)
        for queue in (self._default, *self._others.values()):
            queue.waiting.pop(token, None)

    def receive(self, message: Incoming) -> None:
        """Hand an answer to its request. Late and unknown ones are dropped."""
        token = message.subject[self._cut :]
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
