"""Routers: nodes that send each message to some of their successors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from pydantic import TypeAdapter

from penguiflow.context import Context, Place, Target
from penguiflow.endpoints import Endpoint
from penguiflow.floe import trace_of
from penguiflow.node import Node, NodePolicy
from penguiflow.policies import (
    PolicyLike,
    RoutingDecisionType,
    RoutingRequest,
    evaluate_policy,
)

Predicate = Callable[[Any], RoutingDecisionType]
"""Where a message goes: a successor or its name, several of them, or None to drop it."""


def predicate_router(name: str, predicate: Predicate, *, policy: PolicyLike | None = None) -> Node:
    """A node that sends each message where a predicate says.

    Args:
        name: The node's name.
        predicate: Called with the message; sync.
        policy: Is asked with the predicate's proposal and has the last word.

    Raises:
        KeyError: in the node, "No successor named 'x'".
    """

    async def route(message: Any, ctx: Context) -> None:
        proposed = _places(predicate(message), ctx)
        await _send(node, policy, message, proposed=proposed, ctx=ctx)

    node = Node(route, name=name, policy=NodePolicy(validate="none"))
    return node


def union_router(name: str, union_model: Any, *, policy: PolicyLike | None = None) -> Node:
    """A node that validates each message as one of a union and routes it by its kind.

    The successor is the one named as the value's `kind`, or else as its class. It gets the
    validated value.

    Args:
        name: The node's name.
        union_model: What pydantic can validate: a union of models, annotated or not.
        policy: Is asked with that successor and has the last word.

    Raises:
        pydantic.ValidationError: in the node, the message is none of the union.
        KeyError: in the node, "No successor named 'x'".
    """
    adapter: TypeAdapter[Any] = TypeAdapter(union_model)

    async def route(message: Any, ctx: Context) -> None:
        value = adapter.validate_python(message)
        proposed = [ctx.successor(_kind(value))]
        await _send(node, policy, value, proposed=proposed, ctx=ctx)

    node = Node(route, name=name, policy=NodePolicy(validate="none"))
    return node


async def _send(
    node: Node,
    policy: PolicyLike | None,
    message: Any,
    *,
    proposed: list[Place],
    ctx: Context,
) -> None:
    """Send a message to the proposed successors, unless a policy decides otherwise."""
    targets = proposed
    if policy is not None and proposed:
        request = RoutingRequest(
            message=message,
            context=ctx,
            node=node,
            proposed=tuple(proposed),
            trace_id=trace_of(message),
        )
        targets = _places(await evaluate_policy(policy, request), ctx)
    if targets:
        await ctx.emit(message, to=targets)


def _places(decision: RoutingDecisionType, ctx: Context) -> list[Place]:
    if decision is None:
        return []
    targets: Sequence[Target]
    targets = [decision] if isinstance(decision, (Node, Endpoint, str)) else decision
    return [ctx.successor(each) if isinstance(each, str) else each for each in targets]


def _kind(value: Any) -> str:
    try:
        kind = value.kind
    except AttributeError:
        return type(value).__name__
    return str(kind.value) if isinstance(kind, Enum) else str(kind)


__all__ = ["predicate_router", "union_router"]
