"""A flow over several processes and the agent that it asks, for the end-to-end test.

    split -> fragile -> join -> ask ~~> agent

`fragile` does what its message says: pass on, hang until it is killed or cancelled, or raise.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from penguiflow import Context, Message, Node, NodePolicy, create
from penguiflow.patterns import join_k
from penguiflow.remote import RemoteNode
from penguiflow_nats.agent_skills import AgentContext, Chunk, Result, Skill
from penguiflow_nats.commands.agent import AgentSpec
from penguiflow_nats.transport import NatsTransport

PLAIN = NodePolicy(validate="none")
SECRET = "the-payload-that-nobody-else-may-see"
PARTS = 3


def _say(name: str) -> None:
    """Tell the test that this process is there."""
    path = Path(os.environ["SITE_FOLDER"]) / name
    path.with_suffix(".part").write_text(str(os.getpid()))
    path.with_suffix(".part").rename(path)


async def split(msg: Message, ctx: Context) -> None:
    for number in range(PARTS):
        part = {**msg.payload, "number": number}
        await ctx.emit(msg.model_copy(update={"payload": part}))


async def fragile(msg: Message, ctx: Context) -> Message:
    mode, number = msg.payload["mode"], msg.payload["number"]
    if mode == "raise":
        text = f"cannot work on {SECRET}"
        raise ValueError(text)
    if mode == "kill" and number == 1 and not (Path(os.environ["SITE_FOLDER"]) / "hung").exists():
        _say("hung")
        await asyncio.Event().wait()
    if mode == "hang":
        _say(f"hang-{number}")
        await asyncio.Event().wait()
    return msg


async def tell(msg: Message, ctx: AgentContext):  # type: ignore[no-untyped-def]
    """The skill: three pieces and a result."""
    for text in ("one ", "two ", SECRET):
        yield Chunk(text)
    yield Result({"pid": os.getpid(), "traceparent": ctx.traceparent})


ask = RemoteNode(
    transport=NatsTransport(),
    skill="tell",
    agent_url="nats://teller",
    name="ask",
    streaming=True,
    policy=PLAIN,
)
_split, _fragile = Node(split, policy=PLAIN), Node(fragile, policy=PLAIN)
_join = join_k("join", PARTS)
flow = create(_split.to(_fragile), _fragile.to(_join), _join.to(ask), ask.to(), name="site")
agent = AgentSpec("teller", skills=[Skill("tell", tell)])
