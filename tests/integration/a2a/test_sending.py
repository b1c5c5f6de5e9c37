"""Sending messages: what a task becomes, the same over all bindings."""

from __future__ import annotations

import pytest
from a2a.types import a2a_pb2 as pb
from google.protobuf.json_format import MessageToDict

from tests.integration.a2a.conftest import Serve
from tests.integration.a2a.wire import Refused, collect, text

DONE = pb.TASK_STATE_COMPLETED


async def test_a_message_becomes_a_task_with_its_result_as_artifact(
    serve: Serve, binding: str
) -> None:
    wire = (await serve()).wire(binding)
    answer = await wire.call("SendMessage", text("hello"))
    task = answer.task
    assert task.status.state == DONE
    assert task.status.HasField("timestamp")
    assert [part.text for each in task.artifacts for part in each.parts] == ["echo hello"]
    assert [each.role for each in task.history] == [pb.ROLE_USER]
    assert task.history[0].parts[0].text == "hello"
    assert task.history[0].task_id == task.id
    assert task.context_id


@pytest.mark.parametrize(("word", "value"), [("number", 42.0), ("list", [1.0, "two", None])])
async def test_a_result_of_any_json_type_ends_the_task(
    serve: Serve, binding: str, word: str, value: object
) -> None:
    wire = (await serve()).wire(binding)
    task = (await wire.call("SendMessage", text(word))).task
    assert task.status.state == DONE
    assert MessageToDict(task.artifacts[0].parts[0].data) == value


async def test_no_result_ends_the_task_without_an_artifact(serve: Serve, binding: str) -> None:
    wire = (await serve()).wire(binding)
    task = (await wire.call("SendMessage", text("none"))).task
    assert (task.status.state, len(task.artifacts)) == (DONE, 0)


@pytest.mark.parametrize(
    ("word", "state"),
    [("fail", pb.TASK_STATE_FAILED), ("reject", pb.TASK_STATE_REJECTED)],
)
async def test_a_task_ends_as_its_flow_did(
    serve: Serve, binding: str, word: str, state: int
) -> None:
    wire = (await serve()).wire(binding)
    task = (await wire.call("SendMessage", text(word))).task
    assert task.status.state == state
    said = task.status.message.parts[0].text
    assert said
    assert "secret" not in said


async def test_chunks_are_appended_to_one_artifact(serve: Serve, binding: str) -> None:
    wire = (await serve()).wire(binding)
    events = await collect(wire, "SendStreamingMessage", text("chunks 5"))
    kinds = [each.WhichOneof("payload") for each in events]
    assert kinds[0] == "task"
    updates = [each.artifact_update for each in events if each.HasField("artifact_update")]
    streamed = [each for each in updates if each.artifact.artifact_id == "stream"]
    assert "".join(each.artifact.parts[0].text for each in streamed) == "0,1,2,3,4,"
    assert [each.append for each in streamed] == [False, True, True, True, True]
    assert [each.last_chunk for each in streamed] == [False, False, False, False, True]
    assert updates[-1].artifact.artifact_id == "result"
    assert updates[-1].artifact.parts[0].text == "done"
    assert events[-1].status_update.status.state == DONE
    task = await wire.call("GetTask", pb.GetTaskRequest(id=events[0].task.id))
    assert [each.parts[0].text for each in task.artifacts] == ["0,1,2,3,4,", "done"]


@pytest.mark.parametrize("word", ["ask", "ask-raise"])
async def test_a_pause_asks_and_the_next_message_resumes(
    serve: Serve, binding: str, word: str
) -> None:
    wire = (await serve()).wire(binding)
    asked = (await wire.call("SendMessage", text(word))).task
    assert asked.status.state == pb.TASK_STATE_INPUT_REQUIRED
    assert asked.status.message.parts[0].text == "which one?"
    answered = (await wire.call("SendMessage", text("that", task_id=asked.id))).task
    assert (answered.id, answered.status.state) == (asked.id, DONE)
    assert answered.context_id == asked.context_id
    assert MessageToDict(answered.artifacts[0].parts[0].data) == {
        "got": "that",
        "asked": "which one?",
        "first": word,
    }
    assert [each.parts[0].text for each in answered.history] == [word, "which one?", "that"]


async def test_credentials_are_asked_for(serve: Serve, binding: str) -> None:
    wire = (await serve()).wire(binding)
    asked = (await wire.call("SendMessage", text("auth"))).task
    assert asked.status.state == pb.TASK_STATE_AUTH_REQUIRED
    done = (await wire.call("SendMessage", text("open sesame", task_id=asked.id))).task
    assert MessageToDict(done.artifacts[0].parts[0].data) == {"with": "open sesame"}


async def test_a_bare_message_answers_alone(serve: Serve, binding: str) -> None:
    wire = (await serve()).wire(binding)
    answer = await wire.call("SendMessage", text("bare"))
    assert answer.message.parts[0].text == "hello"
    assert answer.message.role == pb.ROLE_AGENT
    (only,) = await collect(wire, "SendStreamingMessage", text("bare"))
    assert only.message.parts[0].text == "hello"


async def test_return_immediately_does_not_wait(serve: Serve, binding: str) -> None:
    wire = (await serve()).wire(binding)
    request = text("sleep 60", configuration={"return_immediately": True})
    task = (await wire.call("SendMessage", request)).task
    assert task.status.state in (pb.TASK_STATE_SUBMITTED, pb.TASK_STATE_WORKING)
    cancelled = await wire.call("CancelTask", pb.CancelTaskRequest(id=task.id))
    assert cancelled.status.state == pb.TASK_STATE_CANCELED


async def test_the_same_key_is_the_same_task_and_the_same_message_id_is_not(
    serve: Serve, binding: str
) -> None:
    wire = (await serve()).wire(binding)
    keyed = {"metadata": {"urn:penguiflow:a2a:idempotency-key": "k1"}}
    first = (await wire.call("SendMessage", text("one", **keyed))).task
    again = (await wire.call("SendMessage", text("one", **keyed))).task
    assert first.id == again.id
    by_header = (await wire.call("SendMessage", text("one"), idempotency_key="k1")).task
    assert by_header.id == first.id
    ids = {(await wire.call("SendMessage", text("one", message_id="m"))).task.id for _ in range(2)}
    assert len(ids) == 2


async def test_a_deadline_fails_the_task_with_a_reason(serve: Serve, binding: str) -> None:
    wire = (await serve()).wire(binding)
    request = text("sleep 60", metadata={"urn:penguiflow:a2a:deadline": 0.2})
    task = (await wire.call("SendMessage", request)).task
    assert task.status.state == pb.TASK_STATE_FAILED
    assert "DEADLINE_EXCEEDED" in task.status.message.parts[0].text


async def test_a_task_that_works_or_is_over_takes_no_message(serve: Serve, binding: str) -> None:
    wire = (await serve()).wire(binding)
    task = (await wire.call("SendMessage", text("hello"))).task
    with pytest.raises(Refused) as refused:
        await wire.call("SendMessage", text("more", task_id=task.id))
    assert refused.value.reason == "UNSUPPORTED_OPERATION"
