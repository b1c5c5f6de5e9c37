"""Streamed chunks: numbers, envelopes, capacity; and the helpers around them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from penguiflow import (
    StreamChunk,
    chunk_to_ws_json,
    create,
    emit_stream_events,
    format_sse_event,
    stream_flow,
)
from penguiflow.core import TraceCancelled
from tests.support.flows import HEADERS, chain, forgotten, message, node, passing, settle
from tests.unit.runtime.conftest import Run


def chunk(text: str = "x", **fields: Any) -> StreamChunk:
    return StreamChunk(**{"stream_id": "s", "seq": 0, "text": text, **fields})


async def test_numbers_and_ids_of_chunks(run: Run) -> None:
    made: list[StreamChunk] = []

    end = {"done": True}
    chunks = [{}, {}, end, {}, {"seq": 10}, {}, {"stream_id": "other"}, end]

    async def stream(msg: Any, ctx: Any) -> None:
        made.extend([await ctx.emit_chunk(parent=msg, text="x", **c) for c in chunks])

    flow = run(create(node(stream).to()))
    await flow.emit(message(trace_id="t"))
    for _ in range(8):
        await flow.fetch()
    assert [c.seq for c in made] == [0, 1, 2, 0, 10, 11, 0, 12]
    assert [c.stream_id for c in made] == ["t"] * 6 + ["other", "t"]
    assert [c.done for c in made] == [False, False, True, False, False, False, False, True]


async def test_chunk_travels_in_the_envelope_of_its_parent(run: Run) -> None:
    parent = message(trace_id="t", deadline_s=9e9, meta={"k": [1]})

    async def stream(msg: Any, ctx: Any) -> None:
        await ctx.emit_chunk(parent=msg, text="hi", meta={"own": 1})

    flow = run(create(node(stream).to()))
    await flow.emit(parent)
    got = await flow.fetch(trace_id="t")
    assert (got.headers, got.trace_id, got.deadline_s) == (HEADERS, "t", 9e9)
    assert got.meta == parent.meta
    assert got.meta is not parent.meta
    assert got.payload == StreamChunk(stream_id="t", seq=0, text="hi", meta={"own": 1})


async def test_chunk_to_some_targets(run: Run) -> None:
    b, c = passing("b"), passing("c")

    async def stream(msg: Any, ctx: Any) -> None:
        await ctx.emit_chunk(parent=msg, text="for c", to=c)
        with pytest.raises(KeyError):
            await ctx.emit_chunk(parent=msg, text="for nobody", to="nobody")

    a = node(stream, "a")
    flow = run(create(a.to(b, c), b.to(), c.to()))
    await flow.emit(message())
    assert (await flow.fetch(c)).payload.text == "for c"
    assert forgotten(flow) or len(flow._host.traces._streams) == 1


async def test_flow_itself_can_send_a_chunk(run: Run) -> None:
    flow = run(create(passing("n").to()))
    sent = await flow.emit_chunk(parent=message(trace_id="t"), text="in")
    assert (sent.seq, sent.stream_id) == (0, "t")
    assert (await flow.fetch(trace_id="t")).payload == sent


@pytest.mark.parametrize("stream_id", [None, "explicit"])
async def test_explicit_stream_id_does_not_escape_the_capacity(
    run: Run, stream_id: str | None
) -> None:
    sent: list[int] = []

    async def stream(msg: Any, ctx: Any) -> None:
        for i in range(10):
            await ctx.emit_chunk(parent=msg, text=str(i), stream_id=stream_id)
            sent.append(i)

    flow = run(create(node(stream).to(), queue_maxsize=3))
    await flow.emit(message(trace_id="t"))
    await settle()
    # Each but the first waits until fewer than three of the trace's are unread.
    assert sent == [0, 1, 2]
    for i in range(7):
        await flow.fetch()
        await settle()
        assert len(sent) == 4 + i
    for _ in range(3):
        await flow.fetch()
    await settle()
    assert not flow._host.traces.get("t")


async def test_first_chunk_of_a_stream_does_not_wait(run: Run) -> None:
    sent: list[str] = []

    async def stream(msg: Any, ctx: Any) -> None:
        for name in ("a", "b"):
            await ctx.emit_chunk(parent=msg, text="x", stream_id=name, to="sink")
            sent.append(name)
        await ctx.emit_chunk(parent=msg, text="x", stream_id="a", to="sink")
        sent.append("waited")

    blocked = asyncio.Event()

    async def sink(msg: Any, ctx: Any) -> None:
        await blocked.wait()

    flow = run(chain(node(stream, "a"), node(sink, "sink"), queue_maxsize=2))
    await flow.emit(message(trace_id="t"))
    await settle()
    assert sent == ["a", "b"]
    blocked.set()
    await settle()
    assert sent == ["a", "b", "waited"]


async def test_chatty_stream_does_not_hold_up_other_traces(run: Run) -> None:
    async def stream(msg: Any, ctx: Any) -> Any:
        if msg.payload == "chatty":
            for _ in range(100):
                await ctx.emit_chunk(parent=msg, text="x")
        return msg

    flow = run(create(node(stream).to(), queue_maxsize=2))
    await flow.emit(message("chatty", trace_id="t"))
    await settle()
    await flow.emit(message("quick"), trace_id="u")
    assert (await flow.fetch(trace_id="u")).payload == "quick"
    assert await flow.cancel("t")
    await settle()
    assert forgotten(flow)


# ---- stream_flow ---------------------------------------------------------------------------------


async def speak(msg: Any, ctx: Any) -> Any:
    words = msg.payload.split()
    for word in words:
        await ctx.emit_chunk(parent=msg, text=word, done=word == words[-1])
        await asyncio.sleep(0)
    return msg.model_copy(update={"payload": len(words)})


async def test_stream_flow_yields_the_chunks(run: Run) -> None:
    flow = run(create(node(speak).to()))
    got = [each async for each in stream_flow(flow, message("a b c"))]
    assert [(each.text, each.seq, each.done) for each in got] == [
        ("a", 0, False),
        ("b", 1, False),
        ("c", 2, True),
    ]
    assert (await flow.fetch()).payload == 3


async def test_stream_flow_with_the_final_result(run: Run) -> None:
    flow = run(create(node(speak).to()))
    got = [each async for each in stream_flow(flow, message("a b"), include_final=True)]
    assert [each.text for each in got[:2]] == ["a", "b"]
    assert got[2:] == [2]
    assert forgotten(flow)


async def test_result_that_is_no_chunk_ends_the_stream(run: Run) -> None:
    flow = run(create(passing("n").to()))
    assert [each async for each in stream_flow(flow, message("only"))] == ["only"]


@pytest.mark.parametrize("include_final", [False, True])
@pytest.mark.parametrize("streams", [False, True])
async def test_stream_ends_when_the_final_message_is_of_another_trace(
    run: Run, streams: bool, include_final: bool
) -> None:
    async def speak_elsewhere(msg: Any, ctx: Any) -> Any:
        if streams:
            await ctx.emit_chunk(parent=msg, text="a", done=True)
        return message("end", trace_id="another")

    flow = run(create(node(speak_elsewhere).to()))
    async with asyncio.timeout(30):
        got = stream_flow(flow, message(trace_id="t"), include_final=include_final)
        assert [each.text async for each in got] == ["a"] * streams
    assert (await flow.fetch(trace_id="another")).payload == "end"
    assert forgotten(flow)


async def test_stream_ends_when_no_result_is_left_to_wait_for(run: Run) -> None:
    async def fall_silent(msg: Any, ctx: Any) -> None:
        await ctx.emit_chunk(parent=msg, text="a")

    flow = run(create(node(fall_silent).to()))
    async with asyncio.timeout(30):
        assert [each.text async for each in stream_flow(flow, message())] == ["a"]


async def test_stop_of_the_flow_is_no_end_of_a_stream(run: Run) -> None:
    async def hang(msg: Any, ctx: Any) -> None:
        await asyncio.Event().wait()

    flow = run(create(node(hang).to()))
    stream = asyncio.ensure_future(anext(stream_flow(flow, message())))
    await settle()
    await flow.stop()
    with pytest.raises(RuntimeError, match="not running"):
        await stream


async def test_streams_of_two_traces_are_not_mixed(run: Run) -> None:
    flow = run(create(node(speak, concurrency=4).to(), queue_maxsize=2))

    async def listen(text: str) -> list[str]:
        return [each.text async for each in stream_flow(flow, message(text))]

    texts = ["a b c d", "e f g h", "i j", "k l m n o"]
    assert await asyncio.gather(*map(listen, texts)) == [text.split() for text in texts]


async def test_timeout_of_a_stream(run: Run) -> None:
    async def hang(msg: Any, ctx: Any) -> None:
        await asyncio.Event().wait()

    flow = run(create(node(hang).to()))
    with pytest.raises(TimeoutError):
        async for _ in stream_flow(flow, message(), timeout=0.005):
            pass


async def test_cancel_ends_a_stream(run: Run) -> None:
    async def hang(msg: Any, ctx: Any) -> None:
        await ctx.emit_chunk(parent=msg, text="x")
        await asyncio.Event().wait()

    flow = run(create(node(hang).to()))
    stream = stream_flow(flow, message(trace_id="t"))
    assert (await anext(stream)).text == "x"
    await flow.cancel("t")
    with pytest.raises(TraceCancelled):
        await anext(stream)
    await settle()
    assert forgotten(flow)


# ---- emit_stream_events --------------------------------------------------------------------------


async def words(*texts: str) -> AsyncIterator[str]:
    for text in texts:
        yield text


async def collected(run: Run, **options: Any) -> list[StreamChunk]:
    source = options.pop("source", None)

    async def stream(msg: Any, ctx: Any) -> None:
        await emit_stream_events(source or words("a", "b"), ctx, msg, **options)

    flow = run(create(node(stream).to()))
    return [each async for each in stream_flow(flow, message())]


async def test_source_without_an_end_gets_a_closing_chunk(run: Run) -> None:
    got = await collected(run, final_meta={"tokens": 2})
    assert [(c.text, c.done, c.meta) for c in got] == [
        ("a", False, {}),
        ("b", False, {}),
        ("", True, {"tokens": 2}),
    ]


async def test_source_that_says_when_it_ends(run: Run) -> None:
    def adapter(event: str) -> tuple[str, bool, dict[str, Any]]:
        return event.upper(), event == "b", {"raw": event}

    got = await collected(run, adapter=adapter, final_meta={"unused": 1})
    assert [(c.text, c.done, c.meta) for c in got] == [
        ("A", False, {"raw": "a"}),
        ("B", True, {"raw": "b"}),
    ]


async def test_source_may_be_an_ordinary_iterable(run: Run) -> None:
    got = await collected(run, source=[1, 2])
    assert [c.text for c in got] == ["1", "2", ""]


# ---- forms ---------------------------------------------------------------------------------------


def test_server_sent_event() -> None:
    assert format_sse_event(chunk("hi", seq=3)) == "event: chunk\nid: 3\ndata: hi\n\n"
    full = format_sse_event(chunk("", done=True, meta={"k": 1}), retry_ms=500)
    assert full == 'event: done\nid: 0\ndata: \ndata: {"k": 1}\nretry: 500\n\n'
    assert format_sse_event(chunk(), event_name="token").startswith("event: token\n")


@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n"])
def test_line_break_in_a_chunk_does_not_break_the_event(line_break: str) -> None:
    event = format_sse_event(
        chunk(f"a{line_break}event: forged{line_break}"), event_name="x\nid: 9"
    )
    assert event == "event: x id: 9\nid: 0\ndata: a\ndata: event: forged\ndata: \n\n"


def test_web_socket_json() -> None:
    assert json.loads(chunk_to_ws_json(chunk("hi", meta={"k": 1}), extra={"type": "chunk"})) == {
        "stream_id": "s",
        "seq": 0,
        "text": "hi",
        "done": False,
        "meta": {"k": 1},
        "type": "chunk",
    }


def test_text_is_not_escaped_where_it_need_not_be() -> None:
    chunk = StreamChunk(stream_id="s", seq=0, text="é", meta={"k": "ü"})
    assert 'data: {"k": "ü"}' in format_sse_event(chunk)
    assert '"text": "é"' in chunk_to_ws_json(chunk)
