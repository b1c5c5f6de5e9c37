"""Nodes for common shapes of flows."""

from __future__ import annotations

from typing import Any

from penguiflow.context import Context
from penguiflow.floe import trace_of
from penguiflow.join import Expected, Join, joined
from penguiflow.node import Node, NodePolicy


def join_k(name: str, k: Expected) -> Node:
    """A node that emits once per k messages of a trace, in order of arrival.

    Args:
        name: The node's name.
        k: How many messages make a group: a number, or a function of any one of the messages
            (all messages of a group must then say the same).

    Raises:
        ValueError: "k must be positive"; in the node "join_k requires messages with trace_id".
    """
    join = Join(k)

    async def collect(message: Any, ctx: Context) -> Any:
        trace_id = trace_of(message)
        if trace_id is None:
            msg = "join_k requires messages with trace_id"
            raise ValueError(msg)
        return collect_into(ctx.bucket(trace_id), message, join)

    node = Node(collect, name=name, policy=NodePolicy(validate="none"))
    node.join = join
    return node


def collect_into(bucket: list[Any], message: Any, join: Join) -> Any:
    """Add a message; the joined group when it is complete, else None."""
    bucket.append(message)
    count = join.expected(bucket[0])
    if len(bucket) < count:
        return None
    group = bucket[:count]
    del bucket[:count]
    return joined(group)


__all__ = ["join_k"]
