"""Flows of the fault cases. What a node says is never the same twice; each run leaves a line."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from pathlib import Path

from penguiflow import Context, Headers, Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.patterns import join_k

PLAIN = NodePolicy(validate="none")
WIDTH = 6


def message(payload: object = 1) -> Message:
    return Message(payload=payload, headers=Headers(tenant="default"))


def answer(msg: Message) -> Message:
    return msg.model_copy(update={"payload": uuid.uuid4().hex})


class Scene:
    """A folder through which a test and the nodes of its processes know of each other."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def note(self, node: str, msg: Message) -> None:
        """A run begins."""
        with (self.folder / "runs").open("a") as runs:
            runs.write(f"{os.getpid()} {node} {msg.trace_id}\n")

    def runs(self, node: str) -> int:
        """How many runs of a node have begun."""
        path = self.folder / "runs"
        return path.read_text().count(f" {node} ") if path.exists() else 0

    def say(self, word: str) -> None:
        (self.folder / word).touch()

    def heard(self, word: str) -> bool:
        return (self.folder / word).exists()

    async def hear(self, word: str) -> None:
        while not self.heard(word):
            await asyncio.sleep(0.01)


def slow(scene: Scene) -> PenguiFlow:
    """One node that waits until it may end."""

    async def only(msg: Message, ctx: Context) -> Message:
        scene.note("only", msg)
        await scene.hear("go")
        return answer(msg)

    return create(Node(only, policy=PLAIN).to(), name="slow")


def chain(scene: Scene) -> PenguiFlow:
    """Two nodes in a row."""

    async def first(msg: Message, ctx: Context) -> Message:
        scene.note("first", msg)
        return answer(msg)

    async def second(msg: Message, ctx: Context) -> Message:
        scene.note("second", msg)
        return msg.model_copy(update={"payload": [msg.payload, uuid.uuid4().hex]})

    one, two = Node(first, policy=PLAIN), Node(second, policy=PLAIN)
    return create(one.to(two), name="chain")


def fan(scene: Scene) -> PenguiFlow:
    """One node that says several things, for the egress."""

    async def deal(msg: Message, ctx: Context) -> None:
        scene.note("deal", msg)
        for _ in range(WIDTH):
            await ctx.emit(answer(msg))

    return create(Node(deal, policy=PLAIN).to(), name="fan")


def joined(scene: Scene) -> PenguiFlow:
    """Several branches that become one again."""

    async def deal(msg: Message, ctx: Context) -> None:
        for _ in range(WIDTH):
            await ctx.emit(answer(msg))

    async def last(msg: Message, ctx: Context) -> Message:
        scene.note("last", msg)
        return msg.model_copy(update={"payload": sorted(msg.payload)})

    first, join, end = Node(deal, policy=PLAIN), join_k("join", WIDTH), Node(last, policy=PLAIN)
    return create(first.to(join), join.to(end), name="joined")


def poison(scene: Scene) -> PenguiFlow:
    """A node that raises, hangs, or takes its process along, as it is told."""

    async def only(msg: Message, ctx: Context) -> Message:
        scene.note(str(msg.payload), msg)
        if msg.payload == "raises":
            raise ValueError("always")
        if msg.payload == "hangs":
            await asyncio.Event().wait()
        if msg.payload == "kills":
            os.kill(os.getpid(), signal.SIGKILL)
        return answer(msg)

    policy = NodePolicy(validate="none", max_retries=1, backoff_base=0.01, timeout_s=1.0)
    return create(Node(only, policy=policy).to(), name="poison")


FLOWS = {each.__name__: each for each in (slow, chain, fan, joined, poison)}
