"""The wire of calls: golden bytes, refusals, names; and the page that describes it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from penguiflow.durable.codec import ValueCodec
from penguiflow.durable.wire_errors import EnvelopeTooNew, MalformedEnvelope
from penguiflow.types import Headers, Message
from penguiflow_nats.call import Position
from penguiflow_nats.call_questions import Question, Reply, packed, question_of
from penguiflow_nats.call_subjects import (
    BadAgentAddress,
    CallNames,
    is_agent_name,
    parse_address,
    task_of,
    task_token,
)
from penguiflow_nats.call_wire import (
    COMPLETED,
    END,
    START,
    CallRequest,
    Piece,
    ReplyEvents,
    TaskRecord,
    encode,
    read_events,
    read_record,
    read_request,
)

PAGE = Path(__file__).parents[2] / "docs" / "remote-calls.md"


def request() -> CallRequest:
    message = Message(
        payload={"n": 1}, headers=Headers(tenant="acme"), trace_id="t" * 32, ts=1.0, meta={}
    )
    return CallRequest(
        tenant="acme",
        agent="summary",
        task="task",
        skill="sum",
        message=ValueCodec().pack_output(message, (), message.trace_id),
        budget=2.5,
    )


GOLDEN = {
    "request": (
        request(),
        "9f01a461636d65a773756d6d617279a47461736ba373756d9b81a16e019001d920"
        + "74" * 32
        + "a461636d65c000cb3ff0000000000000c080c0"
        + "c3c0c0cb4004000000000000cb0000000000000000a0a0c0c0",
    ),
    "events": (
        ReplyEvents(1, 2, 7, [Piece("a"), Piece("b", True, msgspec.Raw(b"\x80"))]),
        "940102079293a161c2c093a162c380",
    ),
    "start": (
        TaskRecord(kind=START, epoch=1, agent="a", instance="i", skill="s"),
        "9d01a5737461727401a161a169a173c0a0c000c0cb0000000000000000cb0000000000000000",
    ),
    "end": (
        TaskRecord(kind=END, epoch=1, state=COMPLETED, result=msgspec.Raw(b"\x01"), events=2),
        "9d01a3656e6401a0a0a0c0a9636f6d706c657465640102c0cb0000000000000000cb0000000000000000",
    ),
}
WITHOUT_TRACESTATE = (
    "9f01a461636d65a773756d6d617279a47461736ba373756d9a81a16e019001d920"
    + "74" * 32
    + "a461636d65c000cb3ff0000000000000c080c3c0c0cb4004000000000000cb0000000000000000a0a0c0c0"
)
"""The request as it was written before messages carried a `tracestate`."""
READERS = {CallRequest: read_request, ReplyEvents: read_events, TaskRecord: read_record}


@pytest.mark.parametrize("name", GOLDEN)
def test_bytes_stay_what_they_are(name: str) -> None:
    value, golden = GOLDEN[name]
    assert encode(value).hex() == golden
    assert READERS[type(value)](bytes.fromhex(golden)) == value


def test_a_request_without_tracestate_is_read() -> None:
    assert read_request(bytes.fromhex(WITHOUT_TRACESTATE)) == request()


@pytest.mark.parametrize("name", GOLDEN)
def test_fields_of_the_future_are_skipped(name: str) -> None:
    value, golden = GOLDEN[name]
    fields = msgspec.msgpack.decode(bytes.fromhex(golden))
    longer = msgspec.msgpack.encode([*fields, {"new": "field"}])
    assert READERS[type(value)](longer) == value


@pytest.mark.parametrize("reader", READERS.values())
def test_a_later_version_is_told_from_rubbish(reader) -> None:
    with pytest.raises(EnvelopeTooNew):
        reader(msgspec.msgpack.encode([2, "anything", {"at": "all"}]))
    for rubbish in (b"", b"\xc1", b"\x90", msgspec.msgpack.encode([0, 1]), b"{}"):
        with pytest.raises(MalformedEnvelope):
            reader(rubbish)


def test_a_record_of_unknown_kind_or_state_is_refused() -> None:
    for record in (
        TaskRecord(kind="pause", epoch=1),
        TaskRecord(kind=END, epoch=1, state="perhaps"),
        TaskRecord(kind="ask", epoch=1, state="completed"),
        TaskRecord(kind=END, epoch=1, state="input-required"),
        TaskRecord(kind=START, epoch=-1),
        TaskRecord(kind=END, epoch=1, state=COMPLETED, retain=float("nan")),
    ):
        with pytest.raises(MalformedEnvelope):
            read_record(encode(record))


def test_a_question_is_read_from_its_record() -> None:
    question = Question(3, msgspec.Raw(b"\xa1?"))
    asked = TaskRecord(kind="ask", epoch=1, state="input-required", result=packed(question))
    assert question_of(read_record(encode(asked))) == question
    with pytest.raises(MalformedEnvelope):
        question_of(TaskRecord(kind="ask", epoch=1, state="input-required"))


# ---- names ---------------------------------------------------------------------------------------


def test_subjects_and_streams() -> None:
    names = CallNames("acme")
    assert names.request("summary", "t1") == "pf.v1.acme.call.summary.t1"
    assert names.state("t1") == "pf.v1.acme.reply.t1.state"
    assert names.events("t1", 3) == "pf.v1.acme.reply.t1.3"
    assert names.heard("t1") == "pf.v1.acme.news.t1.*"
    assert names.cancel("summary") == "pf.v1.acme.cancel.summary"
    assert names.ask("summary") == "pf.v1.acme.ask.summary"
    assert (names.calls_stream, names.replies_stream) == ("PF_acme_CALLS", "PF_acme_REPLIES")
    assert names.consumer("summary") == "agent_summary"


def test_the_task_of_a_subject() -> None:
    names = CallNames("acme")
    for subject in (names.request("a", "t"), names.state("t"), names.events("t", 1)):
        assert task_of(subject) == "t"


def test_what_does_not_fit_into_a_subject_is_hashed() -> None:
    token = task_token("a task/with *everything*")
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", token)
    assert CallNames("acme.*").root.count(".") == 2


def test_addresses() -> None:
    assert parse_address("nats://summary") == (None, "summary")
    assert parse_address("nats://acme/summary-2") == ("acme", "summary-2")
    for bad in ("", "summary", "nats://a/b/c", "nats://a.b", "nats://_a", "nats://a\n", "nats:/a"):
        with pytest.raises(BadAgentAddress):
            parse_address(bad)
    assert not is_agent_name("_h_x")


def test_positions() -> None:
    assert Position.parse("3.14") == Position(3, 14)
    assert str(Position(3, 14)) == "3.14"
    for bad in ("", "3", "3.", "a.b", "-1.2", "1.2.3"):
        with pytest.raises(ValueError, match="no position"):
            Position.parse(bad)


# ---- the page ------------------------------------------------------------------------------------

STRUCTS = {
    "Request": CallRequest,
    "Events": ReplyEvents,
    "Piece": Piece,
    "Record": TaskRecord,
    "Question": Question,
    "Reply": Reply,
}


@pytest.mark.parametrize("heading", STRUCTS)
def test_the_page_lists_the_fields(heading: str) -> None:
    text = PAGE.read_text("utf-8")
    section = text.split(f"### {heading}\n", 1)[1].split("\n#", 1)[0]
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", section, re.MULTILINE)
    assert rows == [(str(i), name) for i, name in enumerate(STRUCTS[heading].__struct_fields__)]
