"""What keeps remote nodes from making a bad moment of an agent worse, and from strange addresses.

Four limits, each per agent: only allowed addresses; a circuit breaker; a retry budget, so that
retries cannot multiply the load of an agent that fails; and a number of calls at once. A refusal
happens before anything is sent, so no remote task is left by it.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from penguiflow.clock import SYSTEM_CLOCK, Clock
from penguiflow.errors import TraceCancelled
from penguiflow.remote_models import RemoteTaskAuthRequired, RemoteTaskInputRequired
from penguiflow.remote_tasks import RemoteTaskFailed

_TOKEN = "[A-Za-z0-9_-]{1,64}"  # noqa: S105 - a part of a subject
_NATS = re.compile(rf"nats://(?:{_TOKEN}/)?(?:{_TOKEN}|\?[A-Za-z0-9_.,=<>!~%*+&-]{{1,400}})")
_WEB = ("http", "https")
_STRANGE = re.compile(r"[\x00-\x20\x7f\\]|%2e|%2f|%5c|/\.\.?(?:/|$)", re.IGNORECASE)

_ANSWERS = (RemoteTaskInputRequired, RemoteTaskAuthRequired)
_OWN_FAULTS = (TypeError, ValueError, KeyError)
_NEARLY = 0.9
"""Part of its time after which a call that is cancelled was cancelled for lack of time."""
_SICK_CODES = frozenset(("DEADLINE_EXCEEDED", "NO_AGENT", "BUSY"))


class RemoteRefused(RuntimeError):
    """A call that was not made.

    Attributes:
        agent_url: The agent's address.
    """

    def __init__(self, agent_url: str, message: str) -> None:
        super().__init__(message)
        self.agent_url = agent_url


class AgentNotAllowed(RemoteRefused, ValueError):
    """The address is malformed or on no list."""


class CircuitOpen(RemoteRefused):
    """The agent failed too often; `retry_after` is in how many seconds it is tried again."""

    def __init__(self, agent_url: str, failures: int, retry_after: float) -> None:
        super().__init__(
            agent_url,
            f"{failures} calls of {agent_url} failed one after another; it is tried again in "
            f"{retry_after:.3g} s. See why it fails, or raise `failures` of the RemoteGuard",
        )
        self.retry_after = retry_after


class RetryBudgetSpent(RemoteRefused):
    """Too many of the calls are retries."""

    def __init__(self, agent_url: str, share: float) -> None:
        super().__init__(
            agent_url,
            f"more than {share:.0%} of the calls of {agent_url} are retries, which would only add "
            "to its load. See why it fails, or raise `retry_share` of the RemoteGuard",
        )


class TooManyCalls(RemoteRefused):
    """Other calls did not end in time to make room for this one."""

    def __init__(self, agent_url: str, concurrency: int, waited: float) -> None:
        super().__init__(
            agent_url,
            f"{concurrency} calls of {agent_url} are under way, and none ended within "
            f"{waited:.3g} s. Add replicas, or raise `concurrency` or `wait` of the RemoteGuard",
        )


class RemoteGuard:
    """Limits of the calls to agents. Nodes that are given the same guard share its limits.

    Args:
        allowed: Addresses that may be called, whole or, with `/*` at the end, everything below.
            By default every agent on NATS and none on the web: http and https have to be listed.
        failures: Failures in a row after which an agent is left alone; None for never. A failure
            is an agent that cannot be reached or does not answer in time, not one that answers
            with an error.
        open_for: Seconds until one call may try whether it is well again.
        retry_share: How large a part of the calls may be retries; None for any.
        retry_reserve: Retries that are allowed at once, beside the share.
        concurrency: Calls under way at once; None for any number.
        wait: Seconds to wait for room; None waits as long as the node's own time allows.
        clock: Where time comes from.
    """

    def __init__(
        self,
        *,
        allowed: Sequence[str] | None = None,
        failures: int | None = 5,
        open_for: float = 30.0,
        retry_share: float | None = 0.2,
        retry_reserve: int = 10,
        concurrency: int | None = 128,
        wait: float | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        for name, number in (("failures", failures), ("concurrency", concurrency)):
            if number is not None and number < 1:
                msg = f"{name} is {number}; use at least 1, or None for no limit"
                raise ValueError(msg)
        self.allowed: tuple[str, ...] | None = None if allowed is None else tuple(allowed)
        self.failures = failures
        self.open_for = open_for
        self.retry_share = retry_share
        self.retry_reserve = retry_reserve
        self.concurrency = concurrency
        self.wait = wait
        self.clock = clock
        self._agents: dict[str, _Agent] = {}

    def check(self, agent_url: str) -> None:
        """Raise `AgentNotAllowed` unless the address may be called."""
        scheme = agent_url.partition("://")[0].lower()
        if scheme == "nats" and not _NATS.fullmatch(agent_url):
            problem = "is malformed: use nats://<agent> or nats://<tenant>/<agent>"
        elif scheme in _WEB and not _is_clean(agent_url):
            problem = "is malformed: it needs a host, and no user, '..' or escaped '/'"
        elif self.allowed is None:
            if scheme not in _WEB:
                return
            problem = "is on the web: list it in `allowed` of the RemoteGuard if it is right"
        elif any(_matches(agent_url, each) for each in self.allowed):
            return
        else:
            problem = "is not in `allowed` of the RemoteGuard: list it if it is right"
        raise AgentNotAllowed(agent_url, f"agent address {agent_url[:200]!r} {problem}")

    @asynccontextmanager
    async def admit(
        self, agent_url: str, *, retry: bool = False, timeout_s: float | None = None
    ) -> AsyncIterator[None]:
        """One call happens inside.

        Args:
            agent_url: Who is called.
            retry: Whether the same call was tried before.
            timeout_s: After which a call that is cancelled counts as not answered.

        Raises:
            RemoteRefused: it must not happen, or not now.
        """
        self.check(agent_url)
        agent = self._agents.get(agent_url)
        if agent is None:
            agent = self._agents[agent_url] = _Agent(self, agent_url)
        agent.look()
        await agent.enter()
        began = self.clock.monotonic()
        try:
            agent.begin(retry=retry)
            try:
                yield
            except BaseException as error:
                lasted = self.clock.monotonic() - began
                agent.end(
                    _verdict(error, overdue=timeout_s is not None and lasted >= _NEARLY * timeout_s)
                )
                raise
            agent.end(True)
        finally:
            agent.leave()


class _Agent:
    """How the calls to one agent went."""

    def __init__(self, guard: RemoteGuard, agent_url: str) -> None:
        self._guard = guard
        self._agent_url = agent_url
        self._failures = 0
        self._open_until: float | None = None
        self._probing = False
        self._retries = float(guard.retry_reserve)
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def look(self) -> None:
        """Raise `CircuitOpen` while the agent is left alone."""
        if self._open_until is None:
            return
        left = self._open_until - self._guard.clock.monotonic()
        if left > 0 or self._probing:
            raise CircuitOpen(self._agent_url, self._failures, max(0.0, left))

    def begin(self, *, retry: bool) -> None:
        """A call begins. Raises `RemoteRefused`."""
        self.look()
        share, reserve = self._guard.retry_share, self._guard.retry_reserve
        if retry and share is not None:
            if self._retries < 1:
                raise RetryBudgetSpent(self._agent_url, share)
            self._retries -= 1
        elif share is not None:
            self._retries = min(float(reserve), self._retries + share)
        self._probing = self._open_until is not None

    def end(self, well: bool | None) -> None:
        """A call ended; None says nothing about the agent."""
        self._probing = False
        if well is None:
            return
        if well:
            self._failures, self._open_until = 0, None
            return
        self._failures += 1
        limit = self._guard.failures
        if limit is not None and self._failures >= limit:
            self._open_until = self._guard.clock.monotonic() + self._guard.open_for

    async def enter(self) -> None:
        """Wait for room. Raises `TooManyCalls`."""
        limit, clock = self._guard.concurrency, self._guard.clock
        if limit is None or (self._under_way < limit and not self._waiting):
            self._under_way += 1
            return
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(room)
        waits: set[asyncio.Future[None]] = {room}
        if self._guard.wait is not None:
            waits.add(asyncio.ensure_future(clock.sleep(self._guard.wait)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if room.done():
                self.leave()  # it was given room that it has no use for
            raise
        finally:
            for each in waits - {room}:
                each.cancel()
            with suppress(ValueError):
                self._waiting.remove(room)
        if not room.done():
            raise TooManyCalls(self._agent_url, limit, self._guard.wait or 0.0)

    def leave(self) -> None:
        """Give the room to whoever waits for the longest time."""
        while self._waiting:
            room = self._waiting.popleft()
            if not room.done():
                room.set_result(None)
                return
        self._under_way -= 1


def _verdict(error: BaseException, *, overdue: bool) -> bool | None:
    """Whether a call that raised speaks for its agent; None when it says nothing about it."""
    if isinstance(error, asyncio.CancelledError):
        return False if overdue else None
    if isinstance(error, RemoteTaskFailed):
        return error.code not in _SICK_CODES
    if isinstance(error, _ANSWERS):
        return True
    if isinstance(error, TraceCancelled) or not isinstance(error, Exception):
        return None
    return None if isinstance(error, _OWN_FAULTS) else False


def _is_clean(url: str) -> bool:
    """Whether a web address says what it seems to say."""
    if _STRANGE.search(url):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and "@" not in parts.netloc and (parts.port or 1) > 0
    except ValueError:
        return False


def _matches(agent_url: str, allowed: str) -> bool:
    # A star counts only behind a slash: "https://host*" would also allow "https://host.evil".
    if allowed.endswith("/*") and not allowed.endswith("://*"):
        return agent_url.startswith(allowed[:-1]) and not _STRANGE.search(agent_url)
    return agent_url == allowed


__all__ = [
    "AgentNotAllowed",
    "CircuitOpen",
    "RemoteGuard",
    "RemoteRefused",
    "RetryBudgetSpent",
    "TooManyCalls",
]
