"""Flows for workers in processes of their own, which tests kill.

python -m tests.integration.durable.app <server> <flow> <node,node...>
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Callable
from typing import Any

from penguiflow import Context, Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.patterns import join_k
from penguiflow_nats import runtime

COUNT, SIZE = 10_000, 4_000
"""Messages that one node emits for one input, and bytes of each."""
LEASE = 1.0
PLAIN = NodePolicy(validate="none")


def message(payload: Any, **fields: Any) -> Message:
    return Message(payload=payload, headers=Headers(tenant="default"), **fields)


def answer(msg: Message, payload: Any) -> Message:
    return msg.model_copy(update={"payload": payload})


async def split(msg: Message, ctx: Context) -> None:
    for number in range(msg.payload):
        await ctx.emit(answer(msg, (number, "x" * SIZE)))


async def first_of(msg: Message, ctx: Context) -> Message:
    return answer(msg, msg.payload[0])


async def total(msg: Message, ctx: Context) -> Message:
    return answer(msg, sum(msg.payload))


def fan() -> PenguiFlow:
    """One message becomes many, and many become one."""
    first, middle = Node(split, policy=PLAIN), Node(first_of, policy=PLAIN)
    join, last = join_k("join", COUNT), Node(total, policy=PLAIN)
    return create(first.to(middle), middle.to(join), join.to(last), name="fan")


async def flaky(msg: Message, ctx: Context) -> Message:
    """Takes its time, and fails now and then; which and when follows from the message."""
    key, number = msg.payload
    fate = zlib.crc32(f"{key}/{number}".encode())
    await asyncio.sleep(fate % 23 / 1000)
    if ctx.attempt < fate % 4 - 1:
        raise ConnectionError("once more")
    return msg


def ordered() -> PenguiFlow:
    """One node that keeps the order of a key, with back-offs beyond the lease among others."""
    policy = NodePolicy(
        validate="none",
        order_by=lambda msg: msg.payload[0],
        max_retries=8,
        backoff_base=0.05,
        backoff_mult=30.0,
        max_backoff=1.2,
        concurrency=8,
    )
    return create(Node(flaky, policy=policy).to(), name="ordered")


FLOWS: dict[str, Callable[[], PenguiFlow]] = {"fan": fan, "ordered": ordered}


async def main() -> None:
    server, flow, nodes = sys.argv[1:]
    async with runtime.worker(FLOWS[flow](), server, nodes=nodes.split(","), lease=LEASE):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
