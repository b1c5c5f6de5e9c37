"""Streamed text: through a flow, out of one, and in the forms that browsers take."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from penguiflow.context import Targets
from penguiflow.types import Message, StreamChunk

if TYPE_CHECKING:
    from penguiflow.context import Context
    from penguiflow.flow import PenguiFlow

Adapter = Callable[[Any], "tuple[str, bool, Mapping[str, Any] | None]"]
"""Turns an event of a source into (text, whether it is the last, meta)."""


def format_sse_event(
    chunk: StreamChunk, *, event_name: str | None = None, retry_ms: int | None = None
) -> str:
    """The chunk as a server-sent event, with the empty line that ends it.

    Args:
        chunk: What to send; each line of its text is a `data:` line of its own.
        event_name: Instead of "done" or "chunk".
        retry_ms: After how many milliseconds a client connects again.
    """
    event = event_name if event_name is not None else ("done" if chunk.done else "chunk")
    lines = [f"event: {' '.join(_lines(event))}", f"id: {chunk.seq}"]
    lines += [f"data: {line}" for line in _lines(chunk.text)]
    if chunk.meta:
        lines.append(f"data: {json.dumps(chunk.meta, ensure_ascii=False, default=str)}")
    if retry_ms is not None:
        lines.append(f"retry: {retry_ms}")
    return "\n".join(lines) + "\n\n"


def _lines(text: str) -> list[str]:
    """The lines as the event stream format counts them."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def chunk_to_ws_json(chunk: StreamChunk, *, extra: Mapping[str, Any] | None = None) -> str:
    """The chunk as a JSON object for a web socket; `extra` adds keys."""
    return json.dumps({**chunk.model_dump(), **(extra or {})}, ensure_ascii=False, default=str)


async def stream_flow(
    flow: PenguiFlow,
    parent_msg: Message,
    *,
    to: Targets = None,
    timeout: float | None = None,
    include_final: bool = False,
) -> AsyncIterator[Any]:
    """Put a message into a running flow and yield the chunks of its trace as they come.

    A result that is no chunk is yielded too, as its payload, and ends the stream. So does the end
    of the trace: a node that answers with a `Message` of another trace, or with nothing, leaves
    none to wait for. What it made of another trace is fetched as that one's.

    Args:
        flow: A running flow.
        parent_msg: What to emit; only results of its trace are yielded.
        to: Where to emit it, as of `flow.emit`.
        timeout: Seconds that each result may take.
        include_final: After the last chunk, also yield the next result that is no chunk.

    Raises:
        TimeoutError: no result in time.
        TraceCancelled: the trace was cancelled.
    """
    with flow.subscribe(parent_msg.trace_id) as results:
        await flow.emit(parent_msg, to)
        ended = False
        while True:
            async with asyncio.timeout(timeout):
                result = await results.next()
            if result is None:
                return
            value = result.value
            payload = value.payload if isinstance(value, Message) else value
            if not isinstance(payload, StreamChunk):
                yield payload
                return
            if not ended:
                yield payload
                ended = payload.done
            if ended and not include_final:
                return


async def emit_stream_events(
    source: AsyncIterable[Any] | Iterable[Any],
    ctx: Context,
    parent_msg: Message,
    *,
    adapter: Adapter | None = None,
    to: Targets = None,
    final_meta: Mapping[str, Any] | None = None,
) -> None:
    """Send each event of a source as a chunk of `parent_msg`.

    Args:
        source: Gives the events.
        ctx: Of the node that streams.
        parent_msg: Whose chunks they are.
        adapter: Turns an event into (text, done, meta); by default its text.
        to: Where the chunks go, as of `ctx.emit`.
        final_meta: Meta of the empty chunk that closes a source without a last event.
    """
    adapt = adapter if adapter is not None else _as_text
    async for event in _events(source):
        text, done, meta = adapt(event)
        await ctx.emit_chunk(parent=parent_msg, text=text, done=done, meta=meta, to=to)
        if done:
            return
    await ctx.emit_chunk(parent=parent_msg, text="", done=True, meta=final_meta, to=to)


async def _events(source: AsyncIterable[Any] | Iterable[Any]) -> AsyncIterator[Any]:
    if isinstance(source, AsyncIterable):
        async for event in source:
            yield event
    else:
        for event in source:
            yield event


def _as_text(event: Any) -> tuple[str, bool, Mapping[str, Any] | None]:
    return str(event), False, {}


__all__ = ["chunk_to_ws_json", "emit_stream_events", "format_sse_event", "stream_flow"]
