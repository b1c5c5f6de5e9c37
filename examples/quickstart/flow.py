"""A flow of three nodes in one process: python examples/quickstart/flow.py"""

import asyncio
import importlib.util
import sys
from pathlib import Path

from pydantic import BaseModel

if importlib.util.find_spec("penguiflow") is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from penguiflow import Context, ModelRegistry, Node, create


class Text(BaseModel):
    text: str


class Counted(BaseModel):
    text: str
    words: int


async def clean(given: Text, ctx: Context) -> Text:
    return Text(text=" ".join(given.text.split()))


async def count(given: Text, ctx: Context) -> Counted:
    return Counted(text=given.text, words=len(given.text.split()))


async def tell(given: Counted, ctx: Context) -> Text:
    return Text(text=f"{given.text!r} has {given.words} words")


first, second, last = Node(clean), Node(count), Node(tell)
flow = create(first.to(second), second.to(last), last.to())

registry = ModelRegistry()  # what goes into and out of each node is checked against its models
registry.register("clean", Text, Text)
registry.register("count", Text, Counted)
registry.register("tell", Counted, Text)


async def main() -> None:
    flow.run(registry=registry)
    await flow.emit(Text(text="  penguins   walk "))
    await flow.emit(Text(text="and they   swim  very well"))
    for _ in range(2):
        print((await flow.fetch()).text)
    await flow.stop()


if __name__ == "__main__":
    asyncio.run(main())
