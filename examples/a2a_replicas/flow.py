"""Two replicas of an A2A agent, one of them killed: python examples/a2a_replicas/flow.py

Starts a nats-server and two replicas by `penguiflow a2a serve`. A client streams a task from the
first one, which is killed in the middle; the client subscribes at the second one and has it all.
"""

import asyncio
import importlib.util
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

if importlib.util.find_spec("penguiflow") is None:  # a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import httpx

from penguiflow import Context, Message, Node, NodePolicy, create
from penguiflow_nats.server import EmbeddedServer, free_port

PIECES = 40


async def tell(message: Message, ctx: Context) -> Message:
    """Tells a long story, slowly."""
    for number in range(PIECES):
        last = number + 1 == PIECES
        await ctx.emit_chunk(parent=message, text=f"{number} ", done=last)
        await asyncio.sleep(0.05)
    return message.model_copy(update={"payload": "the end"})


agent = create(Node(tell, name="tell", policy=NodePolicy(validate="none")).to(), name="teller")


@asynccontextmanager
async def replica(server: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A process that serves, and its address; ended with the block."""
    port = free_port()
    command = [sys.executable, "-m", "penguiflow.cli", "a2a", "serve", f"{__file__}:agent"]
    options = ["--port", str(port), "--nats", server, "--lease", "1", "--drain", "1"]
    process = await asyncio.create_subprocess_exec(
        *command, *options, stderr=asyncio.subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient() as client:
            for _ in range(600):
                try:
                    await client.get(url + "/.well-known/agent-card.json")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
        yield process, url
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def events(
    client: httpx.AsyncClient, url: str, method: str, params: dict[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream, by JSON-RPC."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    headers = {"A2A-Version": "1.0"}
    async with client.stream("POST", url + "/", json=body, headers=headers) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                yield json.loads(line[5:])["result"]


class Story:
    """What a client knows of the task's stream."""

    def __init__(self) -> None:
        self.task_id = ""
        self.text = ""

    def take(self, event: dict[str, Any]) -> None:
        """A task says how it stands; an update appends, or replaces when a worker began anew."""
        if "task" in event:
            self.task_id = event["task"]["id"]
            self.text = "".join(
                part["text"]
                for artifact in event["task"].get("artifacts", [])
                if artifact["artifactId"] == "stream"
                for part in artifact["parts"]
            )
        update = event.get("artifactUpdate", {})
        if update.get("artifact", {}).get("artifactId") == "stream":
            new = "".join(part.get("text", "") for part in update["artifact"]["parts"])
            self.text = self.text + new if update.get("append") else new


async def main() -> None:
    """Stream, kill, subscribe elsewhere."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(EmbeddedServer())
        first, here = await stack.enter_async_context(replica(server.url))
        _, there = await stack.enter_async_context(replica(server.url))
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=60))
        part = {"text": "a story, please"}
        message = {"messageId": "m1", "role": "ROLE_USER", "parts": [part]}
        story = Story()
        stream = events(client, here, "SendStreamingMessage", {"message": message})
        async with aclosing(stream) as told:  # type: ignore[type-var]
            async for event in told:
                story.take(event)
                if story.text.startswith("0 1 2 3 4 "):
                    break
        first.kill()
        print(f"the first replica was killed after {len(story.text.split())} pieces")
        async for event in events(client, there, "SubscribeToTask", {"id": story.task_id}):
            story.take(event)
            if "statusUpdate" in event:
                print("status:", event["statusUpdate"]["status"]["state"])
        whole = " ".join(map(str, range(PIECES)))
        print(f"all {PIECES} pieces, each once: {story.text.split() == whole.split()}")
    print("Everything that was started is stopped.")


if __name__ == "__main__":
    asyncio.run(main())
