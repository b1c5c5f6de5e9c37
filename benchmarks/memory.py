"""Memory of live traces in the local runtime: `python benchmarks/memory.py [traces]`.

Each case holds that many traces at once at one point of their life. What is counted is what the
runtime allocates beside the messages, which exist before, as Python's allocator sees it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

from penguiflow import Headers, Message, Node, NodePolicy, create

TRACES = 5_000

Case = Callable[[list[Message]], Awaitable[float]]


async def pass_on(message: Any, ctx: Any) -> Any:
    return message


async def hang(message: Any, ctx: Any) -> Any:
    await asyncio.Event().wait()


def flow_of(func: Any, nodes: int = 1) -> Any:
    policy = NodePolicy(validate="none")
    row = [Node(func, name=f"n{i}", policy=policy) for i in range(nodes)]
    pairs = [a.to(b) for a, b in itertools.pairwise(row)]
    return create(*pairs, row[-1].to(), queue_maxsize=0)


def held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def waiting(messages: list[Message]) -> float:
    """Queued before a node that is busy."""
    flow = flow_of(hang)
    flow.run()
    before = held()
    for message in messages:
        await flow.emit(message)
    grown = held() - before
    await flow.stop()
    return grown / len(messages)


async def unread(messages: list[Message]) -> float:
    """Finished by three nodes; nobody fetched the result."""
    flow = flow_of(pass_on, 3)
    flow.run()
    before = held()
    for message in messages:
        await flow.emit(message)
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    grown = held() - before
    await flow.stop()
    return grown / len(messages)


async def scoped(messages: list[Message]) -> float:
    """Open round trips, with the task of each that waits for its result."""
    flow = flow_of(hang)
    flow.run()

    async def round_trip(message: Message) -> None:
        await flow.emit(message, trace_id=message.trace_id)
        await flow.fetch(trace_id=message.trace_id)

    before = held()
    tasks = [asyncio.create_task(round_trip(message)) for message in messages]
    for _ in range(20):
        await asyncio.sleep(0)
    grown = held() - before
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await flow.stop()
    return grown / len(messages)


async def watched(messages: list[Message]) -> float:
    """Queued, with a cancel event that somebody holds."""
    flow = flow_of(hang)
    flow.run()
    before = held()
    events = []
    for message in messages:
        await flow.emit(message)
        events.append(flow.ensure_trace_event(message.trace_id))
    grown = held() - before
    await flow.stop()
    return grown / len(messages)


CASES: dict[str, Case] = {
    "waiting": waiting,
    "unread": unread,
    "round trip": scoped,
    "with event": watched,
}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else TRACES
    tracemalloc.start()
    print(f"{'case':<12}{'bytes per trace':>16}")
    for name, case in CASES.items():
        messages = [Message(payload=i, headers=Headers(tenant="bench")) for i in range(count)]
        print(f"{name:<12}{asyncio.run(case(messages)):>16,.0f}", flush=True)


if __name__ == "__main__":
    main()
