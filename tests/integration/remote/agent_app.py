"""The agent of these tests, and a program that serves it in a process of its own.

python -m tests.integration.remote.agent_app <server> <lease>
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from pydantic import BaseModel

from penguiflow.types import Message
from penguiflow_nats.agent import AgentOptions
from penguiflow_nats.agent_skills import AgentContext, Chunk, Rejected, Result, Skill
from penguiflow_nats.commands.agent import AgentSpec, run_agent


class Question(BaseModel):
    text: str
    times: int = 1


class Answer(BaseModel):
    text: str
    worker: int


async def ask(message: Message, ctx: AgentContext) -> Answer:
    return Answer(text=message.payload.text * message.payload.times, worker=os.getpid())


async def count(message: Message, ctx: AgentContext):
    """Counts up to the payload's `n`, one number per piece, with a pause before each."""
    n, pause = message.payload["n"], message.payload.get("pause", 0.0)
    for number in range(n):
        if pause:
            await asyncio.sleep(pause)
        yield Chunk(str(number), done=number == n - 1, meta={"worker": os.getpid()})
    yield Result({"n": n, "worker": os.getpid(), "epoch": ctx.epoch})


async def tell(message: Message, ctx: AgentContext):
    """Counts as `count` does, and goes on where a dead replica stopped."""
    for number in range(len(ctx.streamed), message.payload["n"]):
        await asyncio.sleep(message.payload.get("pause", 0.0))
        yield Chunk(str(number), meta={"worker": os.getpid()})
    yield Result({"epoch": ctx.epoch, "kept": [piece.text for piece in ctx.streamed]})


async def fail(message: Message, ctx: AgentContext) -> None:
    text = "no summary of this"
    raise ValueError(text)


async def refuse(message: Message, ctx: AgentContext) -> None:
    raise Rejected("not today", code="CLOSED")


async def wait(message: Message, ctx: AgentContext):
    """Says that it began, then waits; says in a file that it was cancelled."""
    yield "began"
    try:
        await asyncio.sleep(message.payload.get("seconds", 60))
    except asyncio.CancelledError:
        note(message.payload, f"cancelled {time.time()}")
        raise
    yield Result("slept")


async def once(message: Message, ctx: AgentContext) -> str:
    note(message.payload, f"ran {ctx.task_id}")
    await asyncio.sleep(message.payload.get("seconds", 0.2))
    return ctx.task_id


async def confirm(message: Message, ctx: AgentContext):
    """Asks for two confirmations; says which process asks."""
    yield "began"
    first = await ctx.ask({"worker": os.getpid(), "epoch": ctx.epoch})
    second = await ctx.ask({"worker": os.getpid(), "epoch": ctx.epoch})
    yield Result([first, second, ctx.epoch])


def note(payload: dict, line: str) -> None:
    path = payload.get("note")
    if path:
        with Path(path).open("a") as file:
            file.write(line + "\n")


agent = AgentSpec(
    "tester",
    skills=[
        Skill("ask", ask, input=Question, output=Answer, description="Repeats a text"),
        Skill("count", count),
        Skill("tell", tell, takeover="continue"),
        Skill("fail", fail),
        Skill("refuse", refuse),
        Skill("wait", wait),
        Skill("once", once),
        Skill("confirm", confirm),
    ],
    options=AgentOptions(lease=1.0),
)


def main() -> int:
    server, lease = sys.argv[1], float(sys.argv[2])
    options = AgentOptions(lease=lease, concurrency=8)

    def ready(_: object) -> None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    return asyncio.run(run_agent(agent, server, options=options, ready=ready))


if __name__ == "__main__":
    sys.exit(main())
