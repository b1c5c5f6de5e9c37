"""Dead letters are submitted again, and what cannot be is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from penguiflow import Headers, Message, create, join_k
from penguiflow.clock import SYSTEM_CLOCK
from penguiflow.durable.dead_letters import Reason, Selection
from penguiflow.durable.keeper import Keeper
from penguiflow.durable.ledger import TraceStatus
from penguiflow.durable.log import EntryTooLarge, Key, Kind
from penguiflow.durable.redrive import Redriven, TraceInUse
from penguiflow_nats import redriver
from penguiflow_nats.dead_letters import NatsDeadLetters
from penguiflow_nats.server import EmbeddedServer
from tests.integration.redrive.desk import Desk, Sickness, opened
from tests.support.flows import chain, node, passing


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer() as started:
        yield started


def message(payload: Any, **fields: Any) -> Message:
    return Message(payload=payload, headers=Headers(tenant="default"), **fields)


async def test_a_mended_node_gets_its_letters_as_new_traces(server: EmbeddedServer) -> None:
    sick = Sickness()
    flow = chain(passing("first"), node(sick.treat, "sick", max_retries=0), name="mended")
    async with opened(flow, server.url) as desk:
        old = await desk.fail(message("work", deadline_s=time.time() + 3600))
        sick.is_ill = False
        (done,) = await desk.redrive()
        assert done.outcome is Redriven.SUBMITTED
        assert done.plan.status is TraceStatus.FAILED
        assert done.plan.unit is not None
        new = done.plan.unit.new_trace
        result = await desk.client.fetch(trace_id=new, timeout=30)
        assert (result.payload, result.trace_id, result.deadline_s) == ("work", new, None)
        assert await desk.client.status(new) is TraceStatus.COMPLETED
        assert await desk.client.status(old) is TraceStatus.FAILED
        assert (await desk.audit(new)).is_clean
        assert not await desk.letters()
        assert not await desk.redrive()


async def test_a_program_redrives_at_a_rate(server: EmbeddedServer) -> None:
    sick = Sickness()
    flow = chain(node(sick.treat, "sick", max_retries=0), name="rated")
    async with opened(flow, server.url) as desk, redriver(flow, server.url, by="nightly") as own:
        for number in range(3):
            await desk.fail(number)
        sick.is_ill = False
        plans = await own.plan(Selection(node="sick"))
        began = time.monotonic()
        outcomes = [done.outcome async for done in own.redrive(plans, rate=4)]
        assert outcomes == [Redriven.SUBMITTED] * 3
        assert time.monotonic() - began >= 0.5
        (unit,) = await desk.box.units("rated-1", plans[0].letters[0].letter.stored.key.trace)
        assert (unit.by, unit.letters) == ("nightly", (plans[0].letters[0].id,))
        assert unit.started > 0


async def test_a_plan_changes_nothing(server: EmbeddedServer) -> None:
    sick = Sickness()
    flow = chain(node(sick.treat, "sick", max_retries=0), name="dry")
    async with opened(flow, server.url) as desk:
        await desk.fail("work")
        (plan,) = await desk.redriver.plan(Selection())
        again = await desk.redriver.plan(Selection())
        assert again == [plan]
        assert plan.unit is not None
        assert await desk.client.status(plan.unit.new_trace) is TraceStatus.UNKNOWN
        assert len(await desk.letters()) == 1


async def test_letters_are_selected_by_node_reason_time_trace_and_id(
    server: EmbeddedServer,
) -> None:
    sick = Sickness()
    flow = chain(node(sick.treat, "sick", max_retries=0), name="chosen")
    async with opened(flow, server.url) as desk:
        first, second = await desk.fail(1), await desk.fail(2)
        letters = await desk.letters()
        middle = (letters[0].buried_at + letters[1].buried_at) / 2

        async def found(**chosen: Any) -> int:
            return len([b async for b in desk.box.scan(Selection(**chosen))])

        assert await found(trace=first) == await found(trace=second) == 1
        assert await found(node="sick", reasons=(Reason.FAILED,)) == 2
        assert await found(node="other") == await found(reasons=(Reason.POISON,)) == 0
        assert await found(since=middle) == await found(until=middle) == 1
        assert await found(ids=(letters[1].id[:12],)) == 1
        assert await found(flow="chosen-1") == 2
        assert await found(flow="another-1") == 0


async def test_another_payload_and_an_id_of_ones_own(server: EmbeddedServer) -> None:
    sick = Sickness()
    flow = chain(node(sick.treat, "sick", max_retries=0), name="edited")
    async with opened(flow, server.url) as desk:
        used = await desk.fail("wrong")
        sick.is_ill = False
        output = desk.codec.pack_output("right", ("sick",), "x")
        with pytest.raises(TraceInUse, match="is in use"):
            await desk.redrive(output=output, trace_id=used)
        (done,) = await desk.redrive(output=output, trace_id="order 7, again")
        assert done.outcome is Redriven.SUBMITTED
        assert await desk.client.fetch(trace_id="order 7, again", timeout=30) == "right"


async def test_a_join_whose_branch_was_lost_completes_in_the_new_trace(
    server: EmbeddedServer,
) -> None:
    sick, healthy = Sickness(), Sickness()
    healthy.is_ill = False
    start = passing("start")
    left, right = node(healthy.treat, "left"), node(sick.treat, "right", max_retries=0)
    join = join_k("both", 2)
    flow = create(start.to(left, right), left.to(join), right.to(join), join.to(), name="joined")
    async with opened(flow, server.url) as desk:
        old = await desk.fail(message("work"))
        async with asyncio.timeout(30):
            while not (await desk.client.status(old)).is_terminal:
                await asyncio.sleep(0.02)
        sick.is_ill = False
        (done,) = await desk.redrive()
        assert "1 inputs of a join" in done.plan.note
        assert done.plan.unit is not None
        result = await desk.client.fetch(trace_id=done.plan.unit.new_trace, timeout=30)
        assert result.payload == ["work", "work"]
        assert len(healthy.results) == 1
        assert (await desk.audit(done.plan.unit.new_trace)).is_clean
        assert await desk.client.status(old) is TraceStatus.FAILED


async def test_a_join_whose_time_was_over_completes_with_what_came_late(
    server: EmbeddedServer,
) -> None:
    late = asyncio.Event()

    async def slow(value: Any, ctx: Any) -> Any:
        await late.wait()
        return value

    start, left, right = passing("start"), passing("left"), node(slow, "right")
    join = join_k("both", 2, timeout_s=0.3)
    flow = create(start.to(left, right), left.to(join), right.to(join), join.to(), name="timed")
    async with opened(flow, server.url) as desk:
        old = await desk.fail(message("work"))  # the left one, which waited in vain
        late.set()
        async with asyncio.timeout(30):
            while len(await desk.letters()) < 2:
                await asyncio.sleep(0.02)
        assert {b.letter.reason for b in await desk.letters()} == {Reason.JOIN_TIMEOUT}
        (done,) = await desk.redrive()
        assert len(done.plan.letters) == 2
        assert done.plan.unit is not None
        result = await desk.client.fetch(trace_id=done.plan.unit.new_trace, timeout=30)
        assert result.payload == ["work", "work"]
        assert await desk.client.status(old) is TraceStatus.FAILED


async def test_a_join_whose_other_branches_are_gone_is_refused_and_if_forced_ends(
    server: EmbeddedServer,
) -> None:
    sick = Sickness()
    start, left = passing("start"), passing("left")
    right, join = node(sick.treat, "right", max_retries=0), join_k("both", 2)
    flow = create(start.to(left, right), left.to(join), right.to(join), join.to(), name="purged")
    async with opened(flow, server.url) as desk:
        old = await desk.fail(message("work"))
        async with asyncio.timeout(30):
            while not (await desk.client.status(old)).is_terminal:
                await asyncio.sleep(0.02)
        await desk.log.purge(old)
        sick.is_ill = False
        (refused,) = await desk.redrive()
        assert refused.outcome is Redriven.REFUSED
        assert "leads to join both" in refused.plan.refused
        (done,) = await desk.redrive(force=True)
        assert done.plan.unit is not None
        new = done.plan.unit.new_trace
        async with asyncio.timeout(30):
            while not (await desk.client.status(new)).is_terminal:
                await asyncio.sleep(0.02)
        assert await desk.client.status(new) is TraceStatus.FAILED


async def test_a_cancelled_trace_is_said_and_only_forced(server: EmbeddedServer) -> None:
    sick = Sickness()
    sleeper = asyncio.Event()

    async def wait(value: Any, ctx: Any) -> Any:
        await sleeper.wait()

    start, never = passing("start"), node(wait, "never")
    flow = create(start.to(node(sick.treat, "sick", max_retries=0), never), name="stopped")
    async with opened(flow, server.url) as desk:
        old = await desk.fail("work")
        assert await desk.client.cancel(old)
        (refused,) = await desk.redrive()
        assert "was cancelled" in refused.plan.refused
        assert refused.plan.status is TraceStatus.CANCELLED
        assert len(await desk.letters()) == 1
        (done,) = await desk.redrive(force=True)
        assert done.outcome is Redriven.SUBMITTED


async def test_a_removed_trace_is_said_and_its_letter_still_works(server: EmbeddedServer) -> None:
    sick = Sickness()
    flow = chain(node(sick.treat, "sick", max_retries=0), name="removed")
    async with opened(flow, server.url) as desk:
        await desk.log.purge(await desk.fail("work"))
        sick.is_ill = False
        (done,) = await desk.redrive()
        assert done.plan.status is TraceStatus.UNKNOWN
        assert done.plan.unit is not None
        assert await desk.client.fetch(trace_id=done.plan.unit.new_trace, timeout=30) == "work"


async def test_what_cannot_be_read_needs_a_payload(server: EmbeddedServer) -> None:
    sick = Sickness()
    sick.is_ill = False
    flow = chain(node(sick.treat, "sick"), name="broken")
    async with opened(flow, server.url) as desk:
        await desk.log.append(Key(Kind.INGRESS, "t", input="x"), b"\xc1")
        await desk.wait_for_letter("t")
        (refused,) = await desk.redrive()
        assert "cannot be read here" in refused.plan.refused
        output = desk.codec.pack_output("written anew", ("sick",), "x")
        (done,) = await desk.redrive(output=output)
        assert done.plan.unit is not None
        new = done.plan.unit.new_trace
        assert await desk.client.fetch(trace_id=new, timeout=30) == "written anew"


async def test_a_letter_of_a_removed_node_moves_to_another_one(server: EmbeddedServer) -> None:
    sick = Sickness()
    before = chain(node(sick.treat, "old", max_retries=0), name="renamed")
    async with opened(before, server.url) as desk:
        await desk.fail("work")
    sick.is_ill = False
    after = chain(node(sick.treat, "new", max_retries=0), name="renamed")
    async with opened(after, server.url) as desk:
        (refused,) = await desk.redrive()
        assert "has no node old; it has new" in refused.plan.refused
        (done,) = await desk.redrive(node="new")
        assert done.plan.unit is not None
        assert await desk.client.fetch(trace_id=done.plan.unit.new_trace, timeout=30) == "work"


async def test_a_letter_larger_than_a_message_is_buried_without_its_data(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one is that a client without claim checks submitted."""
    monkeypatch.setattr("penguiflow_nats.log.INLINE_BYTES", 2**30)
    monkeypatch.setattr("penguiflow_nats.log._FENCES", -(2**20))

    async def talkative(value: Any, ctx: Any) -> Any:
        raise RuntimeError("why" * 1000)

    flow = chain(node(talkative, "sick", max_retries=0), name="large")
    async with opened(flow, server.url) as desk:
        await desk.wait_for_letter(await _emit_the_largest(desk))
        (buried,) = await desk.letters()
        assert "too large to be kept" in buried.letter.detail
        (refused,) = await desk.redrive()
        assert refused.outcome is Redriven.REFUSED


async def _emit_the_largest(desk: Desk) -> str:
    """What the server just takes: nothing that holds it fits into a message."""
    size = 1024 * 1024
    while True:
        try:
            return await desk.client.emit("x" * size)
        except EntryTooLarge:
            size -= 16


async def test_a_large_value_is_redriven_although_its_trace_is_gone(
    server: EmbeddedServer,
) -> None:
    """Its object stays as long as its letter, and the new trace gets one of its own."""
    sick = Sickness()
    flow = chain(node(sick.treat, "sick", max_retries=0), name="large")
    large = "x" * 3_000_000
    async with opened(flow, server.url) as desk:
        await desk.fail(large)
        letters = NatsDeadLetters(desk.log)
        keeper = Keeper(
            desk.log, clock=SYSTEM_CLOCK, retention=0.0, object_grace=-60, letters=letters
        )
        assert await keeper.round() > 0
        sick.is_ill = False
        (done,) = await desk.redrive()
        assert done.plan.unit is not None
        assert await desk.client.fetch(trace_id=done.plan.unit.new_trace, timeout=30) == large
        await keeper.round()
        assert await keeper.sweep() > 0
    assert sick.results == [large]
