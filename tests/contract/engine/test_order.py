"""A node with `order_by` handles the inputs of one key in the order in which they came."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import Any

import pytest

from penguiflow import Context, FlowError, Message, Node, NodePolicy, create
from penguiflow.durable.check import check_durable
from penguiflow.durable.topology import FlowNotDurable
from penguiflow.patterns import join_k
from tests.contract.engine.flows import PLAIN, Gate, answer, message, single
from tests.contract.engine.houses import LEASE, House


def account(msg: Message) -> Any:
    return msg.payload[0]


class Diary:
    """What a node did, by key: numbers in the order in which they began, and which ran at once."""

    def __init__(self) -> None:
        self.begun: defaultdict[str, list[int]] = defaultdict(list)
        self.done: defaultdict[str, list[int]] = defaultdict(list)
        self.running: set[str] = set()
        self.most_keys = 0
        self.overlaps: list[tuple[str, int]] = []

    def begin(self, key: str, number: int) -> None:
        if key in self.running:
            self.overlaps.append((key, number))
        self.running.add(key)
        self.begun[key].append(number)
        self.most_keys = max(self.most_keys, len(self.running))

    def end(self, key: str, number: int, *, done: bool) -> None:
        self.running.discard(key)
        if done:
            self.done[key].append(number)


def ordered(func: Any, **policy: Any) -> Any:
    return single(func, name="ordered", order_by=account, **policy)


def firsts(numbers: list[int]) -> list[int]:
    """Each number once, where it comes first: on a bad line a delivery may come once more while its
    worker lives, and then runs beside the first one."""
    return list(dict.fromkeys(numbers))


async def results(client: Any, traces: list[str]) -> list[Any]:
    return [(await client.fetch(trace_id=trace, timeout=60)).payload for trace in traces]


async def test_inputs_of_a_key_run_in_order_and_those_of_others_at_once(house: House) -> None:
    chooser, diary = random.Random(7), Diary()

    async def node(msg: Message, ctx: Context) -> Message:
        key, number = msg.payload
        diary.begin(key, number)
        await asyncio.sleep(chooser.random() / 50)
        failed = ctx.attempt == 0 and chooser.random() < 0.3
        diary.end(key, number, done=not failed)
        if failed:
            raise ConnectionError("once more")
        return msg

    flow = ordered(node, max_retries=5, backoff_base=0.01)
    for _ in range(3):
        await house.worker(flow)
    client = await house.client(flow)
    sent = [(key, number) for number in range(20) for key in "abcd"]
    traces = [await client.emit(message(pair)) for pair in sent]
    assert await results(client, traces) == sent
    assert diary.most_keys > 1
    if house.calm:
        assert dict(diary.done) == {key: list(range(20)) for key in "abcd"}
        assert not diary.overlaps
        assert all(begun == sorted(begun) for begun in diary.begun.values())
    else:
        for each in (diary.begun, diary.done):
            assert {key: firsts(numbers) for key, numbers in each.items()} == {
                key: list(range(20)) for key in "abcd"
            }


async def test_a_key_that_does_not_go_on_keeps_no_other_key_waiting(house: House) -> None:
    gate = Gate()

    async def node(msg: Message, ctx: Context) -> Message:
        return await gate.node(msg, ctx) if msg.payload[0] == "slow" else msg

    # A delivery that comes once more while its worker lives takes another place.
    flow = ordered(node, concurrency=2 if house.calm else 20)
    await house.worker(flow)
    client = await house.client(flow)
    count = 100 if house.calm else 15  # each of them may wait for a lease to end, one by one
    slow = [await client.emit(message(("slow", number))) for number in range(count)]
    await asyncio.wait_for(gate.started.wait(), 10)
    assert (await client.round_trip(message(("quick", 0)), timeout=20)).payload == ("quick", 0)
    if house.calm:
        assert gate.runs == 1
    gate.open.set()
    assert await results(client, slow) == ["done"] * count


async def test_a_long_back_off_in_the_log_keeps_the_order(house: House) -> None:
    """Another worker may get the input again; what comes after it waits."""
    diary = Diary()

    async def node(msg: Message, ctx: Context) -> Message:
        key, number = msg.payload
        diary.begin(key, number)
        diary.end(key, number, done=bool(number or ctx.attempt))
        if number == 0 and ctx.attempt == 0:
            raise ConnectionError("later")
        return msg

    flow = ordered(node, max_retries=1, backoff_base=1.0)
    for _ in range(3):
        await house.worker(flow, lease=0.5)
    client = await house.client(flow)
    traces = [await client.emit(message(("a", number))) for number in range(10)]
    await results(client, traces)
    done = diary.done["a"]  # on a bad line a commit without an answer is followed by another run
    assert (done if house.calm else list(dict.fromkeys(done))) == list(range(10))


async def test_the_death_of_a_worker_keeps_the_order(house: House) -> None:
    diary, gate = Diary(), Gate()

    async def node(msg: Message, ctx: Context) -> Message:
        key, number = msg.payload
        diary.begin(key, number)
        try:
            if number == 3 and not gate.open.is_set():
                gate.started.set()
                await asyncio.Event().wait()
            await asyncio.sleep(0.01)
        finally:
            diary.running.discard(key)
        diary.done[key].append(number)
        return msg

    flow = ordered(node)
    dying = await house.worker(flow, lease=0.6)
    client = await house.client(flow)
    sent = [(key, number) for number in range(10) for key in "ab"]
    traces = [await client.emit(message(pair)) for pair in sent]
    await asyncio.wait_for(gate.started.wait(), 10)
    gate.open.set()
    await house.kill(dying)
    for _ in range(2):
        await house.worker(flow, lease=0.6)
    assert await results(client, traces) == sent
    done = diary.done if house.calm else {key: firsts(each) for key, each in diary.done.items()}
    assert dict(done) == {key: list(range(10)) for key in "ab"}
    if house.calm:
        assert not diary.overlaps


async def test_an_input_that_fails_for_good_lets_the_next_one_go(house: House) -> None:
    async def node(msg: Message, ctx: Context) -> Message:
        if msg.payload[1] == 0:
            raise ValueError("this one is broken")
        return msg

    flow = ordered(node)
    await house.worker(flow)
    await house.worker(flow)
    client = await house.client(flow)
    first, second = [await client.emit(message(("a", number))) for number in range(2)]
    assert (await client.fetch(trace_id=second, timeout=20)).payload == ("a", 1)
    with pytest.raises(FlowError, match="this one is broken"):
        await client.fetch(trace_id=first, timeout=20)


async def test_a_cancelled_input_lets_the_next_one_go_and_does_not_run(house: House) -> None:
    gate = Gate()
    runs: list[int] = []

    async def node(msg: Message, ctx: Context) -> Message:
        runs.append(msg.payload[1])
        return await gate.node(msg, ctx) if msg.payload[1] == 0 else msg

    flow = ordered(node)
    await house.worker(flow)
    await house.worker(flow)
    client = await house.client(flow)
    first, second, third = [await client.emit(message(("a", number))) for number in range(3)]
    await asyncio.wait_for(gate.started.wait(), 10)
    assert await client.cancel(second)
    assert await client.cancel(first)
    assert (await client.fetch(trace_id=third, timeout=20)).payload == ("a", 2)
    if house.calm:  # else the word of the cancel may be lost: it runs in vain, nothing is committed
        assert runs == [0, 2]
    else:
        assert 2 in runs


async def test_a_drain_hands_back_what_waits_for_its_turn(house: House) -> None:
    gate = Gate()

    async def node(msg: Message, ctx: Context) -> Message:
        return await gate.node(msg, ctx)

    flow = ordered(node)
    lease = 30 if house.calm else LEASE
    leaving = await house.worker(flow, lease=lease)
    client = await house.client(flow)
    traces = [await client.emit(message(("a", number))) for number in range(5)]
    await asyncio.wait_for(gate.started.wait(), 10)
    stopping = asyncio.create_task(leaving.stop(drain=20))
    gate.open.set()
    await stopping
    await house.worker(flow, lease=lease)
    assert await results(client, traces) == ["done"] * 5
    if house.calm:
        assert gate.runs == 5


async def test_a_key_that_cannot_be_had_is_a_dead_letter(house: House) -> None:
    async def node(msg: Message, ctx: Context) -> Message:
        return msg

    flow = ordered(node)
    await house.worker(flow)
    client = await house.client(flow)
    with pytest.raises(FlowError, match="order_by of node 'only' raised TypeError"):
        await client.round_trip(message(7), timeout=10)
    with pytest.raises(FlowError, match="order_by of node 'only' raised TypeError"):
        await client.round_trip(message(([], 1)), timeout=10)
    assert (await client.round_trip(message(("a", 1)), timeout=10)).payload == ("a", 1)
    assert len(await (await house.letters(flow)).letters()) == 2


async def test_two_nodes_in_a_row_keep_the_order_over_a_fan_out(house: House) -> None:
    """What the first one emits for an input is all there before what it emits for the next."""
    chooser, seen = random.Random(3), defaultdict(list)

    async def several(msg: Message, ctx: Context) -> None:
        key, number = msg.payload
        await asyncio.sleep(chooser.random() / 100)
        for part in range(3):
            await ctx.emit(answer(msg, (key, number * 3 + part)))

    async def note(msg: Message, ctx: Context) -> Message:
        key, number = msg.payload
        await asyncio.sleep(chooser.random() / 100)
        seen[key].append(number // 3)
        return msg

    policy = NodePolicy(validate="none", order_by=account)
    first, second = Node(several, policy=policy), Node(note, policy=policy)
    flow = create(first.to(second), second.to(), name="row")
    for _ in range(2):
        await house.worker(flow)
    client = await house.client(flow)
    traces = [await client.emit(message((key, n))) for n in range(10) for key in "ab"]
    for trace in traces:
        for _ in range(3):
            await client.fetch(trace_id=trace, timeout=60)
    if house.calm:
        assert dict(seen) == {key: [n for n in range(10) for _ in range(3)] for key in "ab"}
    else:
        assert {key: firsts(each) for key, each in seen.items()} == {
            key: list(range(10)) for key in "ab"
        }


async def test_a_large_input_waits_for_its_turn_like_any_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And keeps no memory that the one before it needs."""
    monkeypatch.setattr("penguiflow.durable.claims.HELD_BYTES", 1_500_000)
    order = []

    async def node(msg: Message, ctx: Context) -> Message:
        order.append(msg.payload[1])
        return answer(msg, msg.payload[1])

    flow = ordered(node)
    client = await house.client(flow)
    traces = [await client.emit(message(("a", n, "x" * 1_000_000))) for n in range(4)]
    for _ in range(2):
        await house.worker(flow)
    assert await results(client, traces) == [0, 1, 2, 3]
    assert (order if house.calm else firsts(order)) == [0, 1, 2, 3]


def test_a_join_cannot_keep_an_order() -> None:
    join, last = join_k("join", 2), Node(Gate().node, policy=PLAIN, name="last")
    join.policy.order_by = account

    with pytest.raises(FlowNotDurable, match="is a join and has order_by"):
        check_durable(create(join.to(last)).graph)
