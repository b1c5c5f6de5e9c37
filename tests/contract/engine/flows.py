"""Flows that the engine's contract runs."""

from __future__ import annotations

import asyncio
from typing import Any

from penguiflow import Context, Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.patterns import join_k

PLAIN = NodePolicy(validate="none")


def message(payload: Any, **fields: Any) -> Message:
    return Message(payload=payload, headers=Headers(tenant="default"), **fields)


def answer(msg: Message, payload: Any) -> Message:
    return msg.model_copy(update={"payload": payload})


async def split(msg: Message, ctx: Context) -> None:
    for number in range(msg.payload):
        await ctx.emit(answer(msg, number))


async def square(msg: Message, ctx: Context) -> Message:
    return answer(msg, msg.payload**2)


async def total(msg: Message, ctx: Context) -> Message:
    return answer(msg, sum(msg.payload))


def sum_of_squares(count: int, **options: Any) -> PenguiFlow:
    """split -> square -> join -> total."""
    first, middle = Node(split, policy=PLAIN), Node(square, policy=PLAIN)
    join, last = join_k("join", count), Node(total, policy=PLAIN)
    options.setdefault("name", "squares")
    return create(first.to(middle), middle.to(join), join.to(last), **options)


def single(func: Any, *, name: str = "single", errors: bool = False, **policy: Any) -> PenguiFlow:
    """A flow of one node."""
    node = Node(func, name="only", policy=NodePolicy(validate="none", **policy))
    return create(node.to(), name=name, emit_errors_to_rookery=errors)


class Gate:
    """A node that tells when it starts and waits until it is let go."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.open = asyncio.Event()
        self.cancelled = 0
        self.runs = 0

    async def node(self, msg: Message, ctx: Context) -> Message:
        self.runs += 1
        self.started.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return answer(msg, "done")
