"""The far side of `benchmarks/remote.py`, in a process of its own:

python -m benchmarks.remote_far nats <server>       an agent, and the same by bare nats-py
python -m uvicorn benchmarks.remote_far:events      the stream as server-sent events
python -m uvicorn --factory benchmarks.remote_far:starlette_events      the same by a framework
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

CHUNKS = 1000
TEXT = "x" * 64


async def events(scope: Any, receive: Any, send: Any) -> None:
    """A raw ASGI application: no framework between the stream and the server."""
    if scope["type"] != "http":
        return
    head = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    for number in range(CHUNKS):
        body = f"id: {number}\ndata: {TEXT}\n\n".encode()
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def starlette_events() -> Any:
    """The same as applications have it."""
    from starlette.applications import Starlette
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    async def body() -> Any:
        for number in range(CHUNKS):
            yield f"id: {number}\ndata: {TEXT}\n\n"

    async def respond(request: Any) -> Any:
        return StreamingResponse(body(), media_type="text/event-stream")

    return Starlette(routes=[Route("/", respond)])


async def far(server: str) -> None:
    """Serve until standard input ends."""
    import nats

    from penguiflow_nats.agent import Skill, serve

    async def echo(message: Any, ctx: Any) -> Any:
        return message.payload

    async def stream(message: Any, ctx: Any) -> Any:
        for _ in range(CHUNKS):
            yield TEXT

    client = await nats.connect(server)

    async def wait(message: Any, ctx: Any) -> Any:
        """Waits, and tells by the system's clock when it was cancelled."""
        yield "began"
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            await client.publish("bare.cancelled", str(now).encode())
            raise

    async def bare_echo(message: Any) -> None:
        await client.publish(message.reply, message.data)

    async def bare_stream(message: Any) -> None:
        text = TEXT.encode()
        for number in range(CHUNKS):
            await client.publish(message.reply, number.to_bytes(8) + text)

    await client.subscribe("bare.echo", cb=bare_echo)
    await client.subscribe("bare.stream", cb=bare_stream)
    skills = [Skill("echo", echo), Skill("stream", stream), Skill("wait", wait)]
    async with serve(server=server, agent="far", skills=skills, concurrency=256):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await client.close()


if __name__ == "__main__":
    asyncio.run(far(sys.argv[2]))
