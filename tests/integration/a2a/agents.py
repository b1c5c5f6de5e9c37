"""Flows and functions that the tests serve."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from a2a.types.a2a_pb2 import Message as A2AMessage
from a2a.types.a2a_pb2 import Part

from penguiflow import Message, Node, NodePolicy, PenguiFlow, create
from penguiflow.serving.handling import AuthRequired, InputRequired, Rejected


async def act(message: Message, ctx: Any) -> Any:
    """Does what the text says."""
    text = message.payload if isinstance(message.payload, str) else "value"
    word, _, rest = text.partition(" ")
    match word:
        case "value":
            return message.payload
        case "chunks":
            for number in range(int(rest)):
                last = number + 1 == int(rest)
                await ctx.emit_chunk(parent=message, text=f"{number},", done=last)
            return "done"
        case "slow":
            await ctx.emit_chunk(parent=message, text="begun,")
            await asyncio.sleep(float(rest or 60))
            return "slept"
        case "sleep":
            await asyncio.sleep(float(rest or 60))
            return "slept"
        case "mark":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                Path(rest).write_text("cancelled")
                raise
        case "fail":
            msg = "secret text"
            raise ValueError(msg)
        case "reject":
            msg = "not for me"
            raise Rejected(msg)
        case "ask":
            return InputRequired("which one?")
        case "ask-raise":
            raise InputRequired("which one?")
        case "auth":
            if not message.meta["a2a"]["credentials"]:
                raise AuthRequired("a token for the bank")
            return {"with": message.meta["a2a"]["credentials"][-1]}
        case "bare":
            return A2AMessage(parts=[Part(text="hello")])
        case "none":
            return None
        case "tenant":
            return message.headers.tenant
        case "number":
            return 42
        case "list":
            return [1, "two", None]
        case _:
            resumed = message.meta.get("resumed")
            if resumed is not None:
                return {"got": text, "asked": resumed["question"], "first": resumed["first"]}
            return f"echo {text}"


def flow() -> PenguiFlow:
    async def node(message: Message, ctx: Any) -> Any:
        result = await act(message, ctx)
        return None if isinstance(result, Message) else result

    return create(Node(node, name="act", policy=NodePolicy(validate="none")).to())
