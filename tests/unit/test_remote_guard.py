"""The limits of remote nodes, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penguiflow.remote import (
    AgentNotAllowed,
    CircuitOpen,
    RemoteGuard,
    RemoteTaskFailed,
    RemoteTaskInputRequired,
    RemoteTaskSnapshot,
    RemoteTaskState,
    RemoteTaskStatus,
    RetryBudgetSpent,
    TooManyCalls,
)
from penguiflow.testing.clock import VirtualClock
from tests.unit.remote_transports import MintingTransport, Transport
from tests.unit.test_remote_node import URL, Detached, message, node_of

AGENT = "nats://agent"


async def call(
    guard: RemoteGuard,
    error: BaseException | None = None,
    *,
    clock: VirtualClock | None = None,
    lasts: float = 0.0,
    **options: Any,
) -> None:
    async with guard.admit(AGENT, **options):
        if clock is not None:
            await clock.advance(lasts)
        if error is not None:
            raise error


async def fail(guard: RemoteGuard, times: int, error: Exception | None = None) -> None:
    for _ in range(times):
        with pytest.raises(type(error or ConnectionError())):
            await call(guard, error or ConnectionError("away"))


def ended(code: str) -> RemoteTaskFailed:
    status = RemoteTaskStatus(RemoteTaskState.FAILED)
    return RemoteTaskFailed(RemoteTaskSnapshot("t", None, status), code=code, message=code)


# ---- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["nats://agent", "nats://acme/agent-2", "nats://?skill=sum&version=1", "memory://x"]
)
def test_agents_on_nats_and_of_own_transports_are_allowed(url: str) -> None:
    RemoteGuard().check(url)


@pytest.mark.parametrize(
    "url",
    ["nats://", "nats://a/b/c", "nats://a.>", "nats://a\n", "http://x", "https://x", "HTTP://x"],
)
def test_malformed_addresses_and_the_web_are_not(url: str) -> None:
    with pytest.raises(AgentNotAllowed, match=r"use nats://|list it"):
        RemoteGuard().check(url)


def test_a_list_allows_what_it_names_and_nothing_else() -> None:
    guard = RemoteGuard(allowed=["https://agents.example/*", "nats://acme/*", "http://one:8080/a"])
    for url in ("https://agents.example/a/b", "nats://acme/agent", "http://one:8080/a"):
        guard.check(url)
    for url in (
        "nats://agent",
        "nats://acme2/agent",
        "https://agents.example.evil/a",
        "https://agents.example@evil/a",
        "https://agents.example/../a",
        "https://agents.example/%2e%2e/a",
        "https://agents.example/a\\b",
        "https://agents.example/a b",
        "http://one:8080/ab",
        "memory://x",
    ):
        with pytest.raises(AgentNotAllowed):
            guard.check(url)


def test_a_star_counts_only_behind_a_host() -> None:
    for allowed in ("https://*", "https://host*", "*"):
        with pytest.raises(AgentNotAllowed):
            RemoteGuard(allowed=[allowed]).check("https://host/a")


def test_a_node_with_a_strange_address_is_not_made() -> None:
    with pytest.raises(AgentNotAllowed):
        node_of(Transport(), guard=RemoteGuard(allowed=["nats://agent"]))


@pytest.mark.parametrize("options", [{"failures": 0}, {"concurrency": 0}])
def test_limits_of_nothing_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        RemoteGuard(**options)


# ---- circuit breaker -----------------------------------------------------------------------------


async def test_failures_in_a_row_open_the_circuit_and_a_probe_closes_it() -> None:
    clock = VirtualClock()
    guard = RemoteGuard(failures=3, open_for=10, clock=clock)
    await fail(guard, 2)
    await call(guard)
    await fail(guard, 3)
    with pytest.raises(CircuitOpen, match="tried again in 10 s") as refused:
        await call(guard)
    assert refused.value.agent_url == AGENT
    assert refused.value.retry_after == 10
    await clock.advance(10)
    async with guard.admit(AGENT):
        with pytest.raises(CircuitOpen):  # one probe at a time
            await call(guard)
    await fail(guard, 2)
    await call(guard)


async def test_a_probe_that_fails_opens_it_again_and_one_that_is_cancelled_says_nothing() -> None:
    clock = VirtualClock()
    guard = RemoteGuard(failures=2, open_for=10, clock=clock)
    await fail(guard, 2)
    await clock.advance(10)
    with pytest.raises(asyncio.CancelledError):
        await call(guard, asyncio.CancelledError())
    await fail(guard, 1)
    with pytest.raises(CircuitOpen):
        await call(guard)
    await clock.advance(10)
    await call(guard)
    await call(guard)


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (TimeoutError(), True),
        (ended("NO_AGENT"), True),
        (ended("DEADLINE_EXCEEDED"), True),
        (ended("HANDLER_EXCEPTION"), False),
        (
            RemoteTaskInputRequired(
                RemoteTaskSnapshot("t", None, RemoteTaskStatus(RemoteTaskState.INPUT_REQUIRED))
            ),
            False,
        ),
        (ValueError("mine"), False),
    ],
)
async def test_what_counts_as_a_failure(error: Exception, counts: bool) -> None:
    guard = RemoteGuard(failures=1, clock=VirtualClock())
    await fail(guard, 1, error)
    if counts:
        with pytest.raises(CircuitOpen):
            await call(guard)
    else:
        await call(guard)


async def test_a_cancel_counts_when_its_time_was_up() -> None:
    clock = VirtualClock()
    guard = RemoteGuard(failures=1, clock=clock)
    for lasts in (1, 4.9):
        with pytest.raises(asyncio.CancelledError):
            await call(guard, asyncio.CancelledError(), clock=clock, lasts=lasts, timeout_s=5)
    with pytest.raises(CircuitOpen):
        await call(guard)


# ---- retry budget --------------------------------------------------------------------------------


async def test_retries_are_a_share_of_the_calls_and_a_reserve() -> None:
    guard = RemoteGuard(retry_share=0.5, retry_reserve=2, failures=None)
    for _ in range(2):
        await call(guard, retry=True)
    with pytest.raises(RetryBudgetSpent, match="50%"):
        await call(guard, retry=True)
    await call(guard)
    with pytest.raises(RetryBudgetSpent):
        await call(guard, retry=True)
    await call(guard)
    await call(guard, retry=True)
    for _ in range(100):  # the reserve is no savings account
        await call(guard)
    for _ in range(2):
        await call(guard, retry=True)
    with pytest.raises(RetryBudgetSpent):
        await call(guard, retry=True)


async def test_agents_have_budgets_of_their_own() -> None:
    guard = RemoteGuard(retry_reserve=1)
    await call(guard, retry=True)
    async with guard.admit("nats://other", retry=True):
        pass


# ---- concurrency ---------------------------------------------------------------------------------


class Held:
    """Calls that last until they are let go."""

    def __init__(self, guard: RemoteGuard) -> None:
        self.guard = guard
        self.inside: list[int] = []
        self.go = asyncio.Event()

    async def call(self, number: int) -> None:
        async with self.guard.admit(AGENT):
            self.inside.append(number)
            await self.go.wait()


async def test_more_calls_wait_their_turn() -> None:
    held = Held(RemoteGuard(concurrency=2))
    calls = [asyncio.ensure_future(held.call(number)) for number in range(5)]
    await asyncio.sleep(0.01)
    assert held.inside == [0, 1]
    calls[3].cancel()
    calls[0].cancel()
    await asyncio.sleep(0.01)
    assert held.inside == [0, 1, 2]
    held.go.set()
    await asyncio.gather(*calls, return_exceptions=True)
    assert held.inside == [0, 1, 2, 4]
    await asyncio.gather(*(call(held.guard) for _ in range(10)))


async def test_a_call_waits_so_long_and_no_longer() -> None:
    clock = VirtualClock()
    held = Held(RemoteGuard(concurrency=1, wait=3, clock=clock))
    first = asyncio.ensure_future(held.call(0))
    second = asyncio.ensure_future(held.call(1))
    await clock.advance(3)
    with pytest.raises(TooManyCalls, match=r"none ended within 3 s.*`concurrency`"):
        await second
    held.go.set()
    await first
    await call(held.guard)


# ---- in a node -----------------------------------------------------------------------------------


async def test_a_refused_call_leaves_no_task() -> None:
    transport = MintingTransport(ConnectionError("away"))
    guard = RemoteGuard(failures=1, clock=VirtualClock())
    node = node_of(transport, guard=guard)
    with pytest.raises(ConnectionError):
        await node.func(message(), Detached(None))
    with pytest.raises(CircuitOpen, match=URL):
        await node.func(message(), Detached(None))
    assert len(transport.requests) == 1


async def test_a_retry_is_one_by_the_attempt() -> None:
    guard = RemoteGuard(retry_reserve=1, retry_share=0)
    node = node_of(Transport(), guard=guard)
    again = Detached(None)
    again.attempt = 1
    await node.func(message(), again)
    with pytest.raises(RetryBudgetSpent):
        await node.func(message(), again)
    await node.func(message(), Detached(None))
