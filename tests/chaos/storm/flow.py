"""What runs in the storm: a fan-out and a join whose nodes never say the same twice.

Whoever runs a node again gets another width, other ids, another duration. So two results of one
input that both counted would contradict each other, and everybody could see it.
"""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from typing import Any

from penguiflow import Context, Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.patterns import join_k

NODES = ("deal", "roll", "gather", "seal")
JOINS = ("gather",)
WIDTHS = (2, 4)
LONGEST_RUN = 0.02
FAILS = 0.03
"""Share of attempts of `roll` that raise."""

_dice = random.SystemRandom()


def submission(trace: str) -> Message:
    """What a client submits for a trace."""
    return Message(payload={"id": f"in-{trace}"}, headers=Headers(tenant="default"), trace_id=trace)


def storm_flow(runs: int | None = None) -> PenguiFlow:
    """deal -> roll (several) -> gather -> seal.

    Args:
        runs: A file descriptor that gets a line for each run of a node.
    """

    async def run(name: str, msg: Message) -> None:
        if runs is not None:
            os.write(runs, f"{name} {msg.trace_id}\n".encode())
        await asyncio.sleep(_dice.uniform(0, LONGEST_RUN))

    async def deal(msg: Message, ctx: Context) -> None:
        await run("deal", msg)
        width = _dice.randint(*WIDTHS)
        for _ in range(width):
            await ctx.emit(_answer(msg, [msg.payload["id"]], width=width))

    async def roll(msg: Message, ctx: Context) -> Message:
        await run("roll", msg)
        if _dice.random() < FAILS:
            raise ConnectionError("rolled off the table")
        return _answer(msg, [msg.payload["id"]], width=msg.payload["width"])

    async def seal(msg: Message, ctx: Context) -> Message:
        await run("seal", msg)
        return _answer(msg, sorted(part["id"] for part in msg.payload))

    # More attempts than the storm can take from one input: a death counts as one.
    policy = NodePolicy(validate="none", max_retries=50, backoff_base=0.02)
    first, middle, last = (Node(func, policy=policy) for func in (deal, roll, seal))
    join = join_k("gather", lambda msg: msg.payload["width"])
    return create(first.to(middle), middle.to(join), join.to(last), last.to(), name="storm")


def _answer(msg: Message, of: list[str], **more: Any) -> Message:
    payload = {"id": uuid.uuid4().hex, "of": of, **more}
    return msg.model_copy(update={"payload": payload})
