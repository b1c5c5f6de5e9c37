"""Nothing is lost or done twice when workers die, fail or are cancelled."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid

import msgspec
import pytest

from penguiflow import Context, FinalAnswer, FlowError, Message, Node, create
from penguiflow.durable.envelope import encode
from penguiflow.durable.ledger import TraceStatus
from penguiflow.durable.log import Key, Kind, TraceEnded
from penguiflow.durable.topology import everything
from penguiflow.errors import TraceCancelled
from penguiflow.patterns import join_k
from tests.contract.engine.flows import (
    PLAIN,
    Gate,
    answer,
    message,
    single,
    split,
    square,
    total,
)
from tests.contract.engine.houses import House


async def test_the_input_of_a_dead_worker_goes_to_another_one(house: House) -> None:
    gate = Gate()
    flow = single(gate.node)
    first = await house.worker(flow)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    await asyncio.wait_for(gate.started.wait(), 5)
    await house.kill(first)
    gate.open.set()
    await house.worker(flow)
    assert (await client.fetch(trace_id=trace_id, timeout=10)).payload == "done"
    books = await client.books(trace_id)
    (record,) = [e for e in books.entries if e.stored.key.kind is Kind.RECORD]
    assert record.envelope is not None
    assert record.envelope.delivered == 2


async def test_two_runs_of_one_input_commit_one_result(house: House) -> None:
    """Outputs that are not the same in each run: everything derives from the committed one."""

    async def roll(msg: Message, ctx: Context) -> None:
        for _ in range(3):
            await ctx.emit(answer(msg, uuid.uuid4().hex))
        await asyncio.sleep(1.0)

    flow = single(roll)
    first = await house.worker(flow, lease=0.6)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    await asyncio.sleep(0.3)
    # The first worker goes on with its run but cannot renew its lease any more.
    for lane in first.lanes:
        lane._tasks = {}
    await house.worker(flow, lease=0.6)
    found = [(await client.fetch(trace_id=trace_id, timeout=10)).payload for _ in range(3)]
    assert len(set(found)) == 3
    await asyncio.sleep(1.5)
    books = await client.books(trace_id)
    assert [client._value(e).payload for e in books.results] == found
    assert len([e for e in books.entries if e.stored.key.kind is Kind.RECORD]) == 1


async def test_a_retry_happens_and_is_counted(house: House) -> None:
    attempts = []

    async def flaky(msg: Message, ctx: Context) -> Message:
        attempts.append(ctx.attempt)
        if len(attempts) < 3:
            raise ConnectionError("not yet")
        return answer(msg, len(attempts))

    flow = single(flaky, max_retries=5, backoff_base=0.02)
    await house.worker(flow)
    client = await house.client(flow)
    assert (await client.round_trip(message(1), timeout=10)).payload == 3
    assert attempts == [0, 1, 2]


async def test_a_timeout_is_a_failure_with_its_code(house: House) -> None:
    gate = Gate()
    flow = single(gate.node, timeout_s=0.1)
    await house.worker(flow)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    with pytest.raises(FlowError, match=r"timed out after 0.10s"):
        await client.fetch(trace_id=trace_id, timeout=10)
    assert gate.cancelled == 1


async def test_a_passed_deadline_is_answered_without_a_run(house: House) -> None:
    gate = Gate()
    flow = single(gate.node)
    await house.worker(flow)
    client = await house.client(flow)
    result = await client.round_trip(message(1, deadline_s=1.0), timeout=10)
    assert result.payload == FinalAnswer(text="Deadline exceeded")
    assert gate.runs == 0


async def test_cancel_stops_what_runs_and_what_waits(house: House) -> None:
    gate = Gate()
    first, second = Node(gate.node, name="first", policy=PLAIN), Node(square, policy=PLAIN)
    flow = create(first.to(second), name="cancel")
    await house.worker(flow)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    await asyncio.wait_for(gate.started.wait(), 5)
    waiting = asyncio.create_task(client.fetch(trace_id=trace_id, timeout=20))
    assert await client.cancel(trace_id) is True
    for _ in range(100):
        if gate.cancelled:
            break
        await asyncio.sleep(0.02)
    assert gate.cancelled == 1
    assert await client.status(trace_id) is TraceStatus.CANCELLED
    assert await client.cancel(trace_id) is True
    with pytest.raises(TraceCancelled):
        await client.fetch(trace_id=trace_id, timeout=5)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_cancel_of_a_finished_trace_changes_nothing(house: House) -> None:
    flow = single(square)
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(3)
    assert (await client.round_trip(msg, timeout=10)).payload == 9
    assert await client.cancel(msg.trace_id) is False
    assert await client.cancel("e" * 32) is False
    assert await client.status(msg.trace_id) is TraceStatus.COMPLETED


async def test_cancel_against_completion_ends_in_one_state(house: House) -> None:
    flow = single(square)
    await house.worker(flow)
    client = await house.client(flow)
    messages = [message(3) for _ in range(20)]

    async def race(msg: Message) -> tuple[bool, str]:
        await client.emit(msg)
        cancelled = await client.cancel(msg.trace_id)
        try:
            await client.fetch(trace_id=msg.trace_id, timeout=10)
        except TraceCancelled:
            return cancelled, "cancelled"
        return cancelled, "completed"

    for cancelled, end in await asyncio.gather(*(race(m) for m in messages)):
        assert end == ("cancelled" if cancelled else "completed")
    for msg in messages:
        assert (await client.status(msg.trace_id)).is_terminal


async def test_an_ended_trace_takes_no_submission(house: House) -> None:
    gate = Gate()
    flow = single(gate.node)
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(1)
    await client.emit(msg)
    assert await client.cancel(msg.trace_id)
    with pytest.raises(TraceEnded):
        await client.emit(msg)


async def test_poison_is_buried_and_neighbours_go_on(house: House) -> None:
    gate = Gate()

    async def node(msg: Message, ctx: Context) -> Message:
        if msg.payload == "poison":
            gate.runs += 1
            await asyncio.Event().wait()
        return answer(msg, "fine")

    flow = single(node)
    client = await house.client(flow)
    poisoned = await client.emit(message("poison"))
    for _ in range(3):
        worker = await house.worker(flow, lease=0.5, max_deliveries=2)
        assert (await client.round_trip(message("ok"), timeout=10)).payload == "fine"
        await asyncio.sleep(0.3)
        await house.kill(worker)
        await asyncio.sleep(0.5)
    await house.worker(flow, lease=0.5, max_deliveries=2)
    with pytest.raises(FlowError, match="never settled"):
        await client.fetch(trace_id=poisoned, timeout=10)
    (letter,) = await (await house.letters(flow)).letters()
    assert letter.reason == "poison"
    assert gate.runs == 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xc1 not msgpack", "malformed"),
        (b"", "malformed"),
    ],
)
async def test_a_malformed_entry_is_buried(house: House, data: bytes, reason: str) -> None:
    flow = single(square)
    await house.worker(flow)
    client = await house.client(flow)
    log = await house.log(flow)
    await log.append(Key(Kind.INGRESS, "f" * 32, input="x"), data)
    assert (await client.round_trip(message(2), timeout=10)).payload == 4
    letters = await house.letters(flow)
    for _ in range(100):
        if await letters.letters():
            break
        await asyncio.sleep(0.02)
    (letter,) = await letters.letters()
    assert letter.reason == reason
    assert letter.stored.data == data


async def test_an_entry_of_another_tenant_is_buried(house: House) -> None:
    flow = single(square)
    await house.worker(flow)
    client = await house.client(flow)
    trace_id = await client.emit(message(2))
    await client.fetch(trace_id=trace_id, timeout=10)
    (ingress, *_) = (await client.books(trace_id)).entries
    assert ingress.envelope is not None
    forged = encode(
        type(ingress.envelope)(
            **{name: getattr(ingress.envelope, name) for name in ingress.envelope.__struct_fields__}
            | {"tenant": "acme"}
        )
    )
    await client.log.append(Key(Kind.INGRESS, "a" * 32, input="x"), forged)
    letters = await house.letters(flow)
    for _ in range(100):
        if await letters.letters():
            break
        await asyncio.sleep(0.02)
    (letter,) = await letters.letters()
    assert letter.reason == "wrong_tenant"


async def test_stop_finishes_what_is_in_hand(house: House) -> None:
    gate = Gate()
    flow = single(gate.node)
    worker = await house.worker(flow)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    await asyncio.wait_for(gate.started.wait(), 5)
    stopping = asyncio.create_task(worker.stop(drain=5))
    await asyncio.sleep(0.05)
    gate.open.set()
    assert await stopping == 0
    assert (await client.fetch(trace_id=trace_id, timeout=10)).payload == "done"


async def test_stop_hands_back_what_it_cannot_finish(house: House) -> None:
    gate = Gate()
    flow = single(gate.node)
    worker = await house.worker(flow, lease=30)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    await asyncio.wait_for(gate.started.wait(), 5)
    assert await worker.stop(drain=0.1) == 1
    gate.open.set()
    await house.worker(flow, lease=30)
    assert (await client.fetch(trace_id=trace_id, timeout=10)).payload == "done"


async def test_chunks_arrive_live_before_the_result(house: House) -> None:
    async def talk(msg: Message, ctx: Context) -> Message:
        for number, word in enumerate(("a", "b", "c")):
            await ctx.emit_chunk(parent=msg, text=word, done=number == 2)
        return answer(msg, "abc")

    flow = single(talk)
    await house.worker(flow)
    client = await house.client(flow)
    seen = [item async for item in client.stream(message(1), timeout=10)]
    assert [(c.seq, c.text, c.done) for c in seen[:-1]] == [
        (0, "a", False),
        (1, "b", False),
        (2, "c", True),
    ]
    assert seen[-1].payload == "abc"


async def test_everything_of_a_trace_can_be_read(house: House) -> None:
    flow = single(square)
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(3)
    await client.round_trip(msg, timeout=10)
    entries = await client.log.read(everything(msg.trace_id))
    assert [e.key.kind for e in entries] == [Kind.INGRESS, Kind.RECORD]


async def test_no_chunk_is_missing_when_the_subscription_misses_some(house: House) -> None:
    async def talk(msg: Message, ctx: Context) -> Message:
        for number in range(300):
            await ctx.emit_chunk(parent=msg, text=str(number), done=number % 100 == 99)
        return answer(msg, "said")

    flow = single(talk)
    await house.worker(flow)
    client = await house.client(flow)
    heard = 0
    listen = client.log.listen_live

    async def deaf(trace, callback):  # type: ignore[no-untyped-def]
        def sometimes(data: bytes) -> None:
            nonlocal heard
            heard += 1
            if heard % 7 and heard < 290:
                callback(data)

        return await listen(trace, sometimes)

    client.log.listen_live = deaf  # type: ignore[method-assign]
    seen = [item async for item in client.stream(message(1), timeout=20)]
    assert [c.text for c in seen[:-1]] == [str(number) for number in range(300)]
    assert [c.seq for c in seen[:3]] == [0, 1, 2]
    assert [c.seq for c in seen[99:101]] == [99, 0]


async def test_chunks_of_a_run_that_failed_are_followed_by_those_of_the_next(house: House) -> None:
    async def talk(msg: Message, ctx: Context) -> Message:
        await ctx.emit_chunk(parent=msg, text=f"try {ctx.attempt}")
        if ctx.attempt == 0:
            raise ConnectionError("again")
        await ctx.emit_chunk(parent=msg, text="end", done=True)
        return answer(msg, "said")

    flow = single(talk, max_retries=1, backoff_base=0.01)
    await house.worker(flow)
    client = await house.client(flow)
    seen = [item async for item in client.stream(message(1), timeout=20)]
    assert [c.text for c in seen[:-1]] == ["try 0", "try 1", "end"]


async def test_an_entry_of_a_newer_version_is_left_to_newer_workers_then_buried(
    house: House,
) -> None:
    flow = single(square)
    await house.worker(flow, newer_delay=0.05, max_deliveries=3)
    client = await house.client(flow)
    newer = msgspec.msgpack.encode([99, "default", "x", "y", {"all": "different"}])
    await client.log.append(Key(Kind.INGRESS, "b" * 32, input="x"), newer)
    assert (await client.round_trip(message(2), timeout=10)).payload == 4
    letters = await house.letters(flow)
    for _ in range(200):
        if await letters.letters():
            break
        await asyncio.sleep(0.02)
    (letter,) = await letters.letters()
    assert (letter.reason, letter.deliveries) == ("too_new", 4)
    assert "version 99" in letter.detail


async def test_a_join_with_a_lost_branch_ends_with_a_reason(house: House) -> None:
    async def pick(msg: Message, ctx: Context) -> Message:
        if msg.payload == 1:
            raise ValueError("this one is broken")
        await asyncio.sleep(0.02 * msg.payload)
        return answer(msg, msg.payload)

    first, middle = Node(split, policy=PLAIN), Node(pick, policy=PLAIN)
    join, last = join_k("join", 3), Node(total, policy=PLAIN)
    flow = create(first.to(middle), middle.to(join), join.to(last), name="lossy")
    await house.worker(flow)
    await house.worker(flow)
    client = await house.client(flow)
    messages = [message(3) for _ in range(5)]
    for msg in messages:
        await client.emit(msg)
    for msg in messages:
        with pytest.raises(FlowError, match=r"this one is broken|waits for a branch that was lost"):
            await client.fetch(trace_id=msg.trace_id, timeout=10)
        for _ in range(200):
            if (await client.status(msg.trace_id)).is_terminal:
                break
            await asyncio.sleep(0.02)
        books = await client.books(msg.trace_id)
        assert books.status is TraceStatus.FAILED
        codes = sorted(str((e.envelope.error or {})["code"]) for e in books.failures if e.envelope)
        assert codes == ["JOIN_INCOMPLETE", "NODE_EXCEPTION"]


async def test_a_complete_join_is_not_ended_by_a_branch_lost_beside_it(house: House) -> None:
    async def pick(msg: Message, ctx: Context) -> Message:
        if msg.payload == 0:
            raise ValueError("this one is broken")
        return answer(msg, msg.payload)

    first, middle = Node(split, policy=PLAIN), Node(pick, policy=PLAIN)
    join, last = join_k("join", 2), Node(total, policy=PLAIN)
    flow = create(first.to(middle), middle.to(join), join.to(last), name="lossy")
    await house.worker(flow)
    await house.worker(flow)
    client = await house.client(flow)
    messages = [message(3) for _ in range(5)]
    for msg in messages:
        await client.emit(msg)
    for msg in messages:
        assert (await client.fetch(trace_id=msg.trace_id, timeout=10)).payload == 3


async def test_a_hand_back_by_a_drain_burns_no_attempt(house: House) -> None:
    attempts: list[int] = []
    started = asyncio.Event()
    hold = True

    async def node(msg: Message, ctx: Context) -> Message:
        attempts.append(ctx.attempt)
        started.set()
        if hold:
            await asyncio.Event().wait()
        if len(attempts) < 6:
            raise ConnectionError("not yet")
        return answer(msg, "done")

    flow = single(node, max_retries=2, backoff_base=0.01)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    for _ in range(3):
        worker = await house.worker(flow, lease=30, max_deliveries=2)
        await asyncio.wait_for(started.wait(), 5)
        started.clear()
        assert await worker.stop(drain=0.05) == 1
    hold = False
    await house.worker(flow, lease=30, max_deliveries=2)
    assert (await client.fetch(trace_id=trace_id, timeout=10)).payload == "done"
    assert attempts == [0, 0, 0, 0, 1, 2]


async def test_attempts_of_a_dead_worker_are_counted(house: House) -> None:
    attempts: list[int] = []
    gate = Gate()

    async def node(msg: Message, ctx: Context) -> Message:
        attempts.append(ctx.attempt)
        if len(attempts) == 3:
            await gate.node(msg, ctx)
        raise ConnectionError("no")

    flow = single(node, max_retries=4, backoff_base=0.01)
    first = await house.worker(flow, lease=0.5)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    await asyncio.wait_for(gate.started.wait(), 5)
    await house.kill(first)
    await house.worker(flow, lease=0.5)
    with pytest.raises(FlowError):
        await client.fetch(trace_id=trace_id, timeout=10)
    # Two failures, the death of the worker as the third, two more.
    assert attempts == [0, 1, 2, 3, 4]


async def test_cancel_during_a_back_off_runs_the_node_no_more(house: House) -> None:
    runs = []

    async def node(msg: Message, ctx: Context) -> Message:
        runs.append(1)
        raise ConnectionError("later")

    flow = single(node, max_retries=5, backoff_base=0.4)
    await house.worker(flow)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    while not runs:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert await client.cancel(trace_id)
    await asyncio.sleep(0.8)
    assert len(runs) == 1


async def test_a_type_that_is_unknown_here_is_buried_as_such(house: House) -> None:
    flow = single(square)
    await house.worker(flow)
    client = await house.client(flow)
    trace_id = await client.emit(message(2))
    await client.fetch(trace_id=trace_id, timeout=10)
    (ingress, *_) = (await client.books(trace_id)).entries
    assert ingress.envelope is not None
    fields = {name: getattr(ingress.envelope, name) for name in ingress.envelope.__struct_fields__}
    strange = client.codec.pack(Strange())
    output = msgspec.structs.replace(
        ingress.envelope.outputs[0], payload=msgspec.Raw(strange.replace(b"Strange", b"Stringe"))
    )
    forged = type(ingress.envelope)(**{**fields, "outputs": (output,), "trace": "c" * 32})
    await client.log.append(Key(Kind.INGRESS, "c" * 32, input="x"), encode(forged))
    with pytest.raises(FlowError, match="Stringe"):
        await client.fetch(trace_id="c" * 32, timeout=10)
    (letter,) = await (await house.letters(flow)).letters()
    assert letter.reason == "unknown_type"


@dataclasses.dataclass
class Strange:
    """A type of this test."""
