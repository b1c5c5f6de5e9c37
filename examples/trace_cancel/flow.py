"""A cancel reaches a subflow: python examples/trace_cancel/flow.py

The node `order` calls a subflow for each order and waits for its result. Two orders are under way
when one of them is cancelled. A middleware of each flow prints every event. `node_cancelled` is a
node's loop that ends, when its flow is stopped; the subflow of a cancelled call is stopped at once.
"""

import asyncio
import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("penguiflow") is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from penguiflow import (
    Context,
    FlowEvent,
    Headers,
    Message,
    ModelRegistry,
    Node,
    NodePolicy,
    PenguiFlow,
    create,
)
from penguiflow.events import Middleware

PLAIN = NodePolicy(validate="none")
packing: dict[str, asyncio.Event] = {}
"""By order: set once its subflow is at work."""
cancelled: list[str] = []
"""Who noticed the cancel, in order."""


def show(flow: str) -> Middleware:
    """A middleware that prints every event of this flow."""

    async def tell(event: FlowEvent) -> None:
        print(f"{flow:8} {event.trace_id or '-':6} {event.event_type:21} {event.node_name}")

    return tell


async def pack(msg: Message, ctx: Context) -> Message:
    """The subflow's node: takes its time, unless it is cancelled."""
    packing[msg.trace_id].set()
    try:
        await asyncio.sleep(60 if msg.payload == "piano" else 0.1)
    except asyncio.CancelledError:
        cancelled.append("subflow")
        raise
    return msg.model_copy(update={"payload": f"a packed {msg.payload}"})


def parcel() -> tuple[PenguiFlow, ModelRegistry | None]:
    """A fresh subflow for each call."""
    node = Node(pack, policy=PLAIN)
    return create(node.to(), middlewares=[show("subflow")]), None


async def order(msg: Message, ctx: Context) -> Message:
    """The parent's node: its result is that of the subflow."""
    try:
        packed = await ctx.call_playbook(parcel, msg)
    except asyncio.CancelledError:
        cancelled.append("parent")
        raise
    return msg.model_copy(update={"payload": f"{packed}, on its way"})


async def main() -> None:
    node = Node(order, policy=NodePolicy(validate="none", concurrency=2))
    flow = create(node.to(), middlewares=[show("parent")])
    flow.run()
    headers = Headers(tenant="default")
    piano = Message(payload="piano", headers=headers, trace_id="piano")
    book = Message(payload="book", headers=headers, trace_id="book")
    packing.update({piano.trace_id: asyncio.Event(), book.trace_id: asyncio.Event()})

    print("flow     trace  event                 node")
    await flow.emit(piano)
    await packing["piano"].wait()
    await flow.emit(book)
    await packing["book"].wait()
    known = await flow.cancel("piano")
    result = await flow.fetch()
    await flow.stop()

    print(f"cancelled: {', '.join(cancelled)} of trace piano ({known})")
    print(f"not touched: {result.payload}")


if __name__ == "__main__":
    asyncio.run(main())
