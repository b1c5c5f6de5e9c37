"""The events of a stream as JSON. Pure."""

from __future__ import annotations

import json

from a2a.types.a2a_pb2 import Artifact, TaskArtifactUpdateEvent
from a2a.utils.proto_utils import to_stream_response
from google.protobuf.json_format import MessageToDict

from penguiflow_a2a.picture import Event

_text = json.dumps


def event_json(event: Event) -> str:
    """The `StreamResponse` of an event as ProtoJSON, on one line."""
    if isinstance(event, TaskArtifactUpdateEvent) and _is_plain(event):
        return _of_chunk(event)
    return json.dumps(MessageToDict(to_stream_response(event)))


def _is_plain(event: TaskArtifactUpdateEvent) -> bool:
    """Whether it is what nearly all events of a stream are: a piece of text, and no more."""
    artifact: Artifact = event.artifact
    if event.HasField("metadata") or artifact.HasField("metadata") or len(artifact.parts) != 1:
        return False
    part = artifact.parts[0]
    return not (
        part.WhichOneof("content") != "text"
        or part.media_type
        or part.filename
        or part.HasField("metadata")
        or artifact.description
        or artifact.extensions
        or not (event.task_id and event.context_id and artifact.artifact_id and artifact.name)
    )


def _of_chunk(event: TaskArtifactUpdateEvent) -> str:
    artifact = event.artifact
    append = ', "append": true' if event.append else ""
    last = ', "lastChunk": true' if event.last_chunk else ""
    return (
        f'{{"artifactUpdate": {{"taskId": {_text(event.task_id)}, '
        f'"contextId": {_text(event.context_id)}, '
        f'"artifact": {{"artifactId": {_text(artifact.artifact_id)}, '
        f'"name": {_text(artifact.name)}, '
        f'"parts": [{{"text": {_text(artifact.parts[0].text)}}}]}}{append}{last}}}}}'
    )
