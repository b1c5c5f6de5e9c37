"""What a durable flow tells its store: each event once, with its id and tenant."""

from __future__ import annotations

import pytest

from penguiflow import Context, FlowError, Message, Node, NodePolicy, create
from penguiflow.state import InMemoryStateStore
from tests.contract.engine.flows import answer, message
from tests.contract.engine.houses import House


async def test_events_are_stored_before_the_input_is_settled(house: House) -> None:
    store = InMemoryStateStore()

    async def flaky(msg: Message, ctx: Context) -> Message:
        if ctx.attempt == 0:
            raise ConnectionError("again")
        return answer(msg, "done")

    policy = NodePolicy(validate="none", max_retries=1, backoff_base=0.01)
    flow = create(Node(flaky, name="only", policy=policy).to(), name="told", state_store=store)
    await house.worker(flow)
    client = await house.client(flow)
    msg = message(1)
    await client.round_trip(msg, timeout=30)
    events = await store.load_history(msg.trace_id)
    assert [event.kind for event in events][:4] == [
        "node_start",
        "node_error",
        "node_retry",
        "node_start",
    ]
    assert all(event.tenant == "default" and event.event_id for event in events)
    assert len({event.event_id for event in events}) == len(events)


async def test_a_store_that_is_away_loses_no_result(house: House) -> None:
    class Away(InMemoryStateStore):
        calls = 0

        async def save_event(self, event):  # type: ignore[no-untyped-def]
            Away.calls += 1
            if Away.calls < 3:
                raise ConnectionError("the store is away")
            await super().save_event(event)

    async def node(msg: Message, ctx: Context) -> Message:
        return answer(msg, "done")

    policy = NodePolicy(validate="none")
    flow = create(Node(node, name="only", policy=policy).to(), name="away", state_store=Away())
    await house.worker(flow)
    client = await house.client(flow)
    try:
        result = await client.round_trip(message(1), timeout=15)
    except FlowError as error:
        pytest.fail(f"the store's failure became the node's: {error}")
    assert result.payload == "done"
