"""Events of a stream are the ProtoJSON that the SDK would write."""

from __future__ import annotations

import json
from typing import Any

import pytest
from a2a.types import a2a_pb2 as pb
from a2a.utils.proto_utils import to_stream_response
from google.protobuf.json_format import MessageToDict

from penguiflow_a2a.event_json import event_json


def chunk(text: str, **fields: Any) -> pb.TaskArtifactUpdateEvent:
    artifact = pb.Artifact(artifact_id="a", name="a", parts=[pb.Part(text=text)])
    return pb.TaskArtifactUpdateEvent(task_id="t", context_id="c", artifact=artifact, **fields)


EVENTS = [
    chunk("x"),
    chunk("", last_chunk=True),
    chunk('"quotes"\n and ü and \u2028 and \U0001f427', append=True, last_chunk=True),
    chunk("x", metadata={"a": 1}),
    pb.TaskArtifactUpdateEvent(task_id="t", context_id="c", artifact=pb.Artifact(artifact_id="a")),
    pb.TaskArtifactUpdateEvent(
        task_id="t",
        context_id="c",
        artifact=pb.Artifact(artifact_id="a", parts=[pb.Part(raw=b"1", media_type="x/y")]),
    ),
    pb.Task(id="t", context_id="c", status=pb.TaskStatus(state=pb.TASK_STATE_WORKING)),
    pb.Message(message_id="m", role=pb.ROLE_AGENT, parts=[pb.Part(text="x")]),
    pb.TaskStatusUpdateEvent(task_id="t", context_id="c"),
]


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_is_written_as_protojson(event: Any) -> None:
    written = event_json(event)
    assert json.loads(written) == MessageToDict(to_stream_response(event))
    assert "\n" not in written
