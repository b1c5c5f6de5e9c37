"""The result of a task as it travels from the worker to whoever serves. Pure.

Plain data, so that a board can store it: {"artifact": bytes}, {"message": bytes} or nothing.
"""

from __future__ import annotations

import uuid
from typing import Any

from a2a.types.a2a_pb2 import Artifact, Message, Role

from penguiflow_a2a.parts import parts_of

RESULT = "result"
"""Artifact id of the result."""


def pack_outcome(value: Any, *, task_id: str, context_id: str) -> dict[str, bytes] | None:
    """What to store of a result: a bare `Message` stays one, anything else is an artifact.

    Raises:
        ValueError: the result cannot be written as JSON.
    """
    if isinstance(value, Message):
        return {"message": _answered(value, context_id).SerializeToString()}
    if isinstance(value, Artifact):
        artifact = Artifact()
        artifact.CopyFrom(value)
        artifact.artifact_id = artifact.artifact_id or RESULT
    else:
        parts = parts_of(value)
        if not parts:
            return None
        artifact = Artifact(artifact_id=RESULT, name=RESULT, parts=parts)
    return {"artifact": artifact.SerializeToString()}


def _answered(message: Message, context_id: str) -> Message:
    """The message as the protocol wants it."""
    full = Message()
    full.CopyFrom(message)
    full.role = Role.ROLE_AGENT
    full.message_id = full.message_id or uuid.uuid4().hex
    full.context_id = context_id
    full.ClearField("task_id")  # an answer without a task
    return full


def unpack_outcome(result: Any) -> Artifact | Message | None:
    """What was stored. Anything that no worker of ours wrote is an artifact."""
    match result:
        case None:
            return None
        case {"message": bytes() as data}:
            return Message.FromString(data)
        case {"artifact": bytes() as data}:
            return Artifact.FromString(data)
        case _:
            return Artifact(artifact_id=RESULT, name=RESULT, parts=parts_of(result))
