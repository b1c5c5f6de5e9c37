"""Small flows, and what tests look at in them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

from penguiflow import FlowEvent, Headers, Message, Node, NodePolicy, PenguiFlow, create

HEADERS = Headers(tenant="acme")


def message(payload: Any = None, **fields: Any) -> Message:
    return Message(payload=payload, headers=HEADERS, **fields)


def node(
    func: Callable[[Any, Any], Awaitable[Any]], name: str | None = None, **policy: Any
) -> Node:
    """A node that validates nothing; policy fields by keyword."""
    return Node(func, name=name, policy=NodePolicy(validate="none", **policy))


async def same(msg: Any, ctx: Any) -> Any:
    return msg


def passing(name: str, **policy: Any) -> Node:
    return node(same, name, **policy)


def chain(*nodes: Node, **options: Any) -> PenguiFlow:
    pairs = [each.to(after) for each, after in itertools.pairwise(nodes)]
    return create(*pairs, nodes[-1].to(), **options)


class Events:
    """A middleware that keeps every event."""

    def __init__(self) -> None:
        self.all: list[FlowEvent] = []

    async def __call__(self, event: FlowEvent) -> None:
        self.all.append(event)

    @property
    def names(self) -> list[str]:
        return [event.event_type for event in self.all]

    def of(self, *types: str) -> list[FlowEvent]:
        return [event for event in self.all if event.event_type in types]

    def one(self, event_type: str) -> FlowEvent:
        (event,) = self.of(event_type)
        return event


async def settle(turns: int = 20) -> None:
    """Let everything that is ready run."""
    for _ in range(turns):
        await asyncio.sleep(0)


def forgotten(flow: PenguiFlow) -> bool:
    """Whether nothing is kept of any trace."""
    host = flow._host
    traces = host.traces
    return not (
        len(traces)
        or traces._streams
        or traces._idle_joins
        or len(traces._events)
        or host.edges.egress.unread
        or host.edges.egress._listed
        or host.unfinished()
    )
