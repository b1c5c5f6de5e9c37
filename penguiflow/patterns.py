"""Nodes for common shapes of flows: joins and routers; and work on many items at once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar

from penguiflow.context import Context
from penguiflow.floe import trace_of
from penguiflow.join import Bucket, Expected, Join, collect
from penguiflow.node import Node, NodePolicy
from penguiflow.routers import predicate_router, union_router

Item = TypeVar("Item")
Done = TypeVar("Done")

_LOOSE_BUCKETS = 1024
"""Incomplete groups that a join keeps outside of a flow, as in a test; the oldest is forgotten."""


async def map_concurrent(
    items: Iterable[Item],
    worker: Callable[[Item], Awaitable[Done]],
    *,
    max_concurrency: int = 8,
) -> list[Done]:
    """Await `worker` for each item, some at once; results in the order of the items.

    Args:
        items: What to work on.
        worker: Called once per item.
        max_concurrency: How many at once; below one counts as one.

    Raises:
        Exception: the first that a worker raised; the others are cancelled and awaited.
    """
    waiting = iter(enumerate(items))
    results: dict[int, Done] = {}
    tasks = [
        asyncio.ensure_future(_work_off(waiting, worker, results))
        for _ in range(max(1, max_concurrency))
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [results[index] for index in range(len(results))]


async def _work_off(
    waiting: Iterator[tuple[int, Item]],
    worker: Callable[[Item], Awaitable[Done]],
    results: dict[int, Done],
) -> None:
    for index, item in waiting:
        results[index] = await worker(item)


def join_k(name: str, k: Expected, *, timeout_s: float | None = None) -> Node:
    """A node that emits once per k messages of a trace, in order of arrival.

    Args:
        name: The node's name.
        k: How many messages make a group: a number, or a function of any one of the messages
            (all messages of a group must then say the same).
        timeout_s: Seconds that a group has from its first message on. When they are over and it
            is incomplete, the join fails with the code `JOIN_TIMEOUT`; what still comes of the
            group is dropped, in a durable flow into the dead letters.

    Raises:
        ValueError: "k must be positive", "timeout_s must be positive"; in the node "join_k
            requires messages with trace_id".
    """
    join = Join(k, timeout_s)
    loose: OrderedDict[str, Bucket] = OrderedDict()

    async def gather(message: Any, ctx: Any) -> Any:
        trace_id = trace_of(message)
        if trace_id is None:
            msg = "join_k requires messages with trace_id"
            raise ValueError(msg)
        if isinstance(ctx, Context) and ctx.is_attached:
            return ctx.collect(trace_id, message, join)
        group = collect(loose.setdefault(trace_id, Bucket()), message, join)
        if not loose[trace_id]:
            del loose[trace_id]
        elif len(loose) > _LOOSE_BUCKETS:
            loose.popitem(last=False)
        return group

    node = Node(gather, name=name, policy=NodePolicy(validate="none"))
    node.join = join
    return node


__all__ = ["join_k", "map_concurrent", "predicate_router", "union_router"]
