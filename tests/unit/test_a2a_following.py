"""What is heard of a remote task is told once, wherever the stream is cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from a2a.types import a2a_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from penguiflow.remote_models import RemoteTaskState
from penguiflow.serving.models import Began, Ended, News, Piece, TaskOrder, TaskSheet
from penguiflow_a2a.client.errors import AnswerTooLarge
from penguiflow_a2a.client.following import Following, Heard, Restarted, Text, Whole
from penguiflow_a2a.client.mapping import result_of
from penguiflow_a2a.outcome import pack_outcome
from penguiflow_a2a.picture import TaskPicture

ORDER = TaskOrder(task_id="t", owner="o", context_id="c", content=b"")
END = Ended(
    9.0, RemoteTaskState.COMPLETED, result=pack_outcome("result", task_id="t", context_id="c")
)


def said(event: object) -> pb.StreamResponse:
    match event:
        case pb.Task():
            return pb.StreamResponse(task=event)
        case pb.TaskStatusUpdateEvent():
            return pb.StreamResponse(status_update=event)
        case _:
            assert isinstance(event, pb.TaskArtifactUpdateEvent)
            return pb.StreamResponse(artifact_update=event)


def texts(heard: Sequence[Heard]) -> dict[str, str]:
    """What a listener has at the end, by artifact."""
    found: dict[str, str] = {}
    for each in heard:
        if isinstance(each, Restarted):
            found.pop(each.artifact, None)
        elif isinstance(each, Text) and each.text:
            found[each.artifact] = found.get(each.artifact, "") + each.text
    return found


PIECES = st.builds(Piece, st.text("abc", max_size=3), st.booleans())
RUNS = st.lists(st.lists(PIECES, max_size=8), min_size=1, max_size=3)


@given(RUNS, st.data())
def test_any_cut_and_resume_gives_the_same_text(
    runs: list[list[Piece]], data: st.DataObject
) -> None:
    news: list[News] = []
    for number, pieces in enumerate(runs):
        news += [Began(1.0 + number, again=number > 0), *pieces]
    news.append(END)
    server = TaskPicture(TaskSheet(order=ORDER, at=1.0))
    following = Following()
    heard: list[Heard] = list(following.take(said(server.task())))
    listens = True
    for each in news:
        events = list(server.take(each))
        if listens:
            cut = data.draw(st.integers(0, len(events)))
            for event in events[:cut]:
                heard += following.take(said(event))
            listens = cut == len(events) and data.draw(st.booleans())
        elif data.draw(st.booleans()):
            heard += following.take(said(server.task()))
            listens = True
    heard += following.take(said(server.task()))
    kept = {each.artifact_id: each.parts[0].text for each in server.task().artifacts}
    assert kept.pop("result") == "result"
    assert texts(heard) == {name: text for name, text in kept.items() if text}
    assert result_of(following.task()) == "result"
    assert following.is_over


def update(text: str, *, append: bool = False, last: bool = False) -> pb.StreamResponse:
    artifact = pb.Artifact(artifact_id="a", parts=[pb.Part(text=text)])
    event = pb.TaskArtifactUpdateEvent(
        task_id="t", context_id="c", artifact=artifact, append=append, last_chunk=last
    )
    return pb.StreamResponse(artifact_update=event)


def test_an_artifact_that_is_replaced_is_void() -> None:
    following = Following()
    heard = [
        each
        for event in (update("one"), update("two", append=True), update("three"))
        for each in following.take(event)
    ]
    assert heard == [Text("a", "one"), Text("a", "two"), Restarted("a"), Text("a", "three")]
    assert following.restarts == 1


def test_a_result_is_no_text() -> None:
    artifact = pb.Artifact(artifact_id="result", parts=[pb.Part(text="all of it")])
    event = pb.TaskArtifactUpdateEvent(task_id="t", artifact=artifact, last_chunk=True)
    (heard,) = Following().take(pb.StreamResponse(artifact_update=event))
    assert isinstance(heard, Whole)


def test_an_agent_that_answers_without_end_is_stopped() -> None:
    following = Following(max_bytes=1000)
    pieces = (update("x" * 50, append=True) for _ in range(1000))
    with pytest.raises(AnswerTooLarge):
        _ = [each for piece in pieces for each in following.take(piece)]
