"""A flow over workers gives the results of the flow in one process."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter

import pytest
from pydantic import BaseModel

from penguiflow import Context, FlowError, Message, Node, NodePolicy, create
from penguiflow.durable.client import TenantMismatch
from penguiflow.durable.ledger import TraceStatus
from penguiflow.endpoints import ROOKERY
from tests.contract.engine.flows import PLAIN, answer, message, single, square, sum_of_squares
from tests.contract.engine.houses import House


class Order(BaseModel):
    number: int
    tags: list[str] = []


async def test_fan_out_and_join_over_two_workers(house: House) -> None:
    await house.worker(sum_of_squares(10))
    await house.worker(sum_of_squares(10))
    client = await house.client(sum_of_squares(10))
    messages = [message(10) for _ in range(8)]
    results = await asyncio.gather(*(client.round_trip(m, timeout=20) for m in messages))
    assert [r.payload for r in results] == [285] * 8
    assert [r.trace_id for r in results] == [m.trace_id for m in messages]
    for m in messages:
        assert await client.status(m.trace_id) is TraceStatus.COMPLETED


async def test_a_worker_hosts_a_subset_of_the_nodes(house: House) -> None:
    await house.worker(sum_of_squares(4), nodes=["split", "join"])
    await house.worker(sum_of_squares(4), nodes=["square", "total"])
    client = await house.client(sum_of_squares(4))
    assert (await client.round_trip(message(4), timeout=30)).payload == 14


async def test_unknown_node_is_named(house: House) -> None:
    with pytest.raises(KeyError, match="the flow has no node nope"):
        await house.worker(sum_of_squares(4), nodes=["nope"])


async def test_models_keep_their_types(house: House) -> None:
    async def grow(msg: Message, ctx: Context) -> Message:
        assert isinstance(msg.payload, Order)
        return answer(msg, Order(number=msg.payload.number + 1, tags=["a"]))

    await house.worker(single(grow))
    client = await house.client(single(grow))
    result = await client.round_trip(message(Order(number=1)), timeout=30)
    assert result.payload == Order(number=2, tags=["a"])


async def test_plain_values_travel_without_a_message(house: House) -> None:
    async def double(value: int, ctx: Context) -> int:
        return value * 2

    await house.worker(single(double))
    client = await house.client(single(double))
    trace_id = await client.emit(21)
    assert await client.fetch(trace_id=trace_id, timeout=30) == 42


async def test_every_result_of_a_trace_is_fetched_in_order(house: House) -> None:
    async def count(msg: Message, ctx: Context) -> None:
        for number in range(5):
            await ctx.emit(answer(msg, number))

    await house.worker(single(count))
    client = await house.client(single(count))
    trace_id = await client.emit(message(0))
    found = [(await client.fetch(trace_id=trace_id, timeout=30)).payload for _ in range(5)]
    assert sorted(found) == list(range(5))
    with pytest.raises(LookupError, match="complete and has no further result"):
        await client.fetch(trace_id=trace_id, timeout=30)


async def test_another_client_fetches_by_trace_id_later(house: House) -> None:
    flow = sum_of_squares(3)
    await house.worker(flow)
    first = await house.client(flow)
    trace_id = await first.emit(message(3))
    await first.stop()
    second = await house.client(flow)
    assert (await second.fetch(trace_id=trace_id, timeout=30)).payload == 5
    third = await house.client(flow)
    assert (await third.fetch(trace_id=trace_id, timeout=30)).payload == 5


async def test_a_result_without_worker_waits_for_one(house: House) -> None:
    client = await house.client(sum_of_squares(3))
    trace_id = await client.emit(message(3))
    with pytest.raises(TimeoutError):
        await client.fetch(trace_id=trace_id, timeout=0.2)
    await house.worker(sum_of_squares(3))
    assert (await client.fetch(trace_id=trace_id, timeout=30)).payload == 5


async def test_a_node_sends_straight_to_the_egress_and_by_name(house: House) -> None:
    async def route(msg: Message, ctx: Context) -> None:
        if msg.payload < 0:
            await ctx.emit(answer(msg, "negative"), to=ROOKERY)
        else:
            await ctx.emit(msg, to="square")

    first, second = Node(route, policy=PLAIN), Node(square, policy=PLAIN)
    flow = create(first.to(second), name="route")
    await house.worker(flow)
    client = await house.client(flow)
    assert (await client.round_trip(message(-1), timeout=30)).payload == "negative"
    assert (await client.round_trip(message(3), timeout=30)).payload == 9


async def test_the_same_idempotency_key_is_one_submission(house: House) -> None:
    runs = []

    async def node(msg: Message, ctx: Context) -> Message:
        runs.append(ctx.idempotency_key)
        return answer(msg, uuid.uuid4().hex)

    await house.worker(single(node))
    client = await house.client(single(node))
    msg = message(1)
    await client.emit(msg, idempotency_key="order-7")
    await client.emit(msg, idempotency_key="order-7")
    first = await client.fetch(trace_id=msg.trace_id, timeout=30)
    with pytest.raises(LookupError):
        await client.fetch(trace_id=msg.trace_id, timeout=30)
    assert set(runs) == {runs[0]}
    if house.calm:  # else it may be delivered once more while it runs
        assert len(runs) == 1
    assert first.payload


async def test_two_flows_versions_and_tenants_do_not_disturb_each_other(house: House) -> None:
    async def one(msg: Message, ctx: Context) -> Message:
        return answer(msg, "one")

    async def two(msg: Message, ctx: Context) -> Message:
        return answer(msg, "two")

    flows = [single(one, name="a"), single(two, name="b")]
    newer = create(Node(two, name="only", policy=PLAIN).to(), name="a", version="2")
    for flow in (*flows, newer):
        await house.worker(flow)
    await house.worker(single(two, name="a"), tenant="acme")
    trace = "0" * 31 + "1"
    payloads = []
    for flow, tenant in ((flows[0], "default"), (flows[1], "default"), (newer, "default")):
        client = await house.client(flow, tenant)
        result = await client.round_trip(message(1, trace_id=trace), timeout=30)
        payloads.append(result.payload)
    acme = await house.client(single(two, name="a"), "acme")
    msg = message(1, trace_id=trace)
    with pytest.raises(TenantMismatch, match=r"'default'.*'acme'"):
        await acme.emit(msg)
    msg.headers.tenant = "acme"
    payloads.append((await acme.round_trip(msg, timeout=30)).payload)
    assert payloads == ["one", "two", "two", "two"]


async def test_a_failed_node_fails_the_trace_with_its_error(house: House) -> None:
    async def broken(msg: Message, ctx: Context) -> None:
        raise ValueError("no such order")

    flow = single(broken)
    await house.worker(flow)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    with pytest.raises(FlowError, match="raised ValueError: no such order"):
        await client.fetch(trace_id=trace_id, timeout=30)
    assert await client.status(trace_id) is TraceStatus.FAILED
    (letter,) = await (await house.letters(flow)).letters()
    assert (letter.node, letter.reason) == ("only", "failed")
    assert "no such order" in letter.detail


async def test_errors_reach_the_egress_when_the_flow_says_so(house: House) -> None:
    async def broken(msg: Message, ctx: Context) -> None:
        raise ValueError("no")

    flow = single(broken, errors=True)
    await house.worker(flow)
    client = await house.client(flow)
    error = await client.round_trip(message(1), timeout=30)
    assert isinstance(error, FlowError)
    assert error.code == "NODE_EXCEPTION"


async def test_a_node_that_returns_nothing_completes_its_trace(house: House) -> None:
    async def swallow(msg: Message, ctx: Context) -> None:
        return None

    flow = single(swallow)
    await house.worker(flow)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    with pytest.raises(LookupError, match="complete"):
        await client.fetch(trace_id=trace_id, timeout=30)


async def test_an_unknown_trace_is_said_to_be_unknown(house: House) -> None:
    client = await house.client(sum_of_squares(3))
    with pytest.raises(LookupError, match="not known here"):
        await client.fetch(trace_id="f" * 32, timeout=5)


async def test_a_result_that_cannot_travel_is_the_nodes_failure(house: House) -> None:
    async def bad(msg: Message, ctx: Context) -> Message:
        return answer(msg, object())

    flow = single(bad)
    await house.worker(flow)
    client = await house.client(flow)
    trace_id = await client.emit(message(1))
    with pytest.raises(FlowError, match="cannot travel between processes"):
        await client.fetch(trace_id=trace_id, timeout=30)


async def test_a_node_runs_no_more_inputs_at_once_than_its_policy_says(house: House) -> None:
    """Per worker; a second node of the same flow has its own limit."""
    running, most, runs = Counter[str](), Counter[str](), Counter[str]()

    async def work(name: str, msg: Message) -> Message:
        running[name] += 1
        runs[name] += 1
        most[name] = max(most[name], running[name])
        for _ in range(20):  # others may begin in each of these turns
            await asyncio.sleep(0)
        running[name] -= 1
        return msg

    async def narrow(msg: Message, ctx: Context) -> Message:
        return await work("narrow", msg)

    async def wide(msg: Message, ctx: Context) -> Message:
        return await work("wide", msg)

    first = Node(narrow, policy=NodePolicy(validate="none", concurrency=3))
    second = Node(wide, policy=NodePolicy(validate="none", concurrency=5))
    flow = create(first.to(second), second.to(), name="narrow")
    client = await house.client(flow)
    traces = [await client.emit(message(number)) for number in range(60)]
    await house.worker(flow, concurrency=64)
    for number, trace in enumerate(traces):
        assert (await client.fetch(trace_id=trace, timeout=60)).payload == number
    assert most["narrow"] == 3
    assert 1 <= most["wide"] <= 5
    if house.calm:
        assert runs == {"narrow": 60, "wide": 60}
