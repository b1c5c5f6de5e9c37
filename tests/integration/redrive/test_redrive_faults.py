"""A redrive that is cut off, repeated or made by two: the work is done once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from penguiflow.durable.dead_letters import Selection
from penguiflow.durable.ledger import TraceStatus
from penguiflow.durable.redrive import Redriven, Redriver
from penguiflow_nats.server import EmbeddedServer
from tests.integration.redrive.desk import Desk, Sickness, opened
from tests.support.flows import chain, node

WRITES = ("append", "claim", "start", "remove")
STEPS = 5
"""Writes of a redrive of one letter whose old input has its record: claim, submission, start,
input, removal. The first of all is tried again and refused: the record that is there."""


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as started:
        yield started


class Killed(BaseException):
    """The redriving process ends here."""


class Mortal:
    """Passes all calls on until the process dies: at a write, before or after it took effect."""

    def __init__(self, inner: Any, death: Callable[[str], str]) -> None:
        self._inner = inner
        self._death = death

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in WRITES:
            return found

        async def call(*args: Any, **options: Any) -> Any:
            when = self._death(name)
            if when == "before":
                raise Killed
            try:
                return await found(*args, **options)
            finally:
                if when == "after":
                    raise Killed

        return call


def dying(desk: Desk, at: int, when: str) -> Redriver:
    """A redriver that dies at its n-th write."""
    count = 0

    def death(name: str) -> str:
        nonlocal count
        count += 1
        return when if count == at else ""

    return desk.new_redriver(Mortal(desk.log, death), Mortal(desk.box, death))


async def begun(redriver: Redriver) -> str:
    """Redrive until it is done or dead; returns the id of the new trace."""
    (plan,) = await redriver.plan(Selection())
    assert plan.unit is not None
    try:
        async for _ in redriver.redrive([plan]):
            pass
    except Killed:
        pass
    return plan.unit.new_trace


async def ended(desk: Desk, trace: str) -> None:
    async with asyncio.timeout(30):
        while not (await desk.client.status(trace)).is_terminal:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", range(1, STEPS + 2))
@pytest.mark.parametrize("purged", [False, True])
async def test_the_next_redrive_completes_it_and_the_work_is_done_once(
    server: EmbeddedServer, at: int, when: str, purged: bool
) -> None:
    sick = Sickness()
    flow = chain(node(sick.treat, "sick", max_retries=0), name="mortal")
    async with opened(flow, server.url) as desk:
        await desk.fail("work")
        sick.is_ill = False
        new = await begun(dying(desk, at, when))
        letters = await desk.letters()
        if purged and len((await desk.client.books(new)).entries) > 1:
            await ended(desk, new)
            await desk.log.purge(new)
        done = await desk.redrive()
        assert len(done) == len(letters)
        assert {d.plan.unit.new_trace for d in done if d.plan.unit} <= {new}
        if not purged:
            assert await desk.client.fetch(trace_id=new, timeout=30) == "work"
            await ended(desk, new)
            assert (await desk.audit(new)).is_clean
        async with asyncio.timeout(30):
            while not sick.results:
                await asyncio.sleep(0.02)
        assert not await desk.letters()
        assert not await desk.redrive()
        assert sick.results == ["work"]


async def test_of_two_that_redrive_at_once_the_work_is_done_once(server: EmbeddedServer) -> None:
    sick = Sickness()
    flow = chain(node(sick.treat, "sick", max_retries=0), name="two")
    async with opened(flow, server.url) as desk:
        for number in range(10):
            await desk.fail(number)
        sick.is_ill = False
        plans = await asyncio.gather(*(desk.redriver.plan(Selection()) for _ in range(4)))

        async def carry_out(number: int) -> None:
            async for _ in desk.new_redriver().redrive(plans[number]):
                pass

        await asyncio.gather(*(carry_out(number) for number in range(4)))
        for plan in plans[0]:
            assert plan.unit is not None
            await desk.client.fetch(trace_id=plan.unit.new_trace, timeout=30)
        assert sorted(sick.results) == list(range(10))
        assert not await desk.letters()


async def test_a_redrive_that_slept_through_everything_commits_nothing(
    server: EmbeddedServer,
) -> None:
    """It stands right before its submission while another one does all, to the removal."""
    sick = Sickness()
    flow = chain(node(sick.treat, "sick", max_retries=0), name="sleepy")
    async with opened(flow, server.url) as desk:
        await desk.fail("work")
        sick.is_ill = False
        (plan,) = await desk.redriver.plan(Selection())
        assert plan.unit is not None
        new = plan.unit.new_trace
        asleep, awake = asyncio.Event(), asyncio.Event()

        class Sleepy:
            def __getattr__(self, name: str) -> Any:
                return getattr(desk.log, name)

            async def append(self, key: Any, *args: Any, **options: Any) -> int:
                if key.kind == "in":
                    asleep.set()
                    await awake.wait()
                return await desk.log.append(key, *args, **options)

        async def sleep_through() -> list[Any]:
            return [d async for d in desk.new_redriver(Sleepy()).redrive([plan])]

        sleeper = asyncio.create_task(sleep_through())
        await asleep.wait()
        (done,) = await desk.redrive()
        assert done.outcome is Redriven.COMPLETED
        assert await desk.client.fetch(trace_id=new, timeout=30) == "work"
        await desk.log.purge(new)
        awake.set()
        await sleeper
        assert await desk.client.status(new) is TraceStatus.UNKNOWN
        assert sick.results == ["work"]


async def test_a_letter_that_is_buried_again_late_is_only_removed(server: EmbeddedServer) -> None:
    """A worker that died before its ack hands the input on; the next one buries it again."""
    sick = Sickness()
    flow = chain(node(sick.treat, "sick", max_retries=0), name="late")
    async with opened(flow, server.url) as desk:
        await desk.fail("work")
        (buried,) = await desk.letters()
        sick.is_ill = False
        (done,) = await desk.redrive()
        assert done.plan.unit is not None
        assert await desk.client.fetch(trace_id=done.plan.unit.new_trace, timeout=30) == "work"
        await desk.bury(buried.letter)
        (again,) = await desk.redrive()
        assert again.outcome is Redriven.COMPLETED
        assert again.plan.resumed
        assert not await desk.letters()
        assert sick.results == ["work"]


async def test_a_new_trace_that_was_cancelled_is_not_begun_again(server: EmbeddedServer) -> None:
    sick = Sickness()
    flow = chain(node(sick.treat, "sick", max_retries=0), name="unwanted")
    async with opened(flow, server.url) as desk:
        await desk.fail("work")
        sick.is_ill = False
        new = await begun(dying(desk, 4, "before"))
        assert await desk.client.status(new) is TraceStatus.RUNNING
        assert await desk.client.cancel(new)
        (done,) = await desk.redrive()
        assert done.outcome is Redriven.CANCELLED
        assert not await desk.letters()
        assert sick.results == []
