"""A call as an A2A request: what it says and what its headers are. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from a2a.types.a2a_pb2 import AgentCard, Message, Role, SendMessageRequest
from google.protobuf.json_format import ParseDict
from pydantic_core import PydanticSerializationError, to_jsonable_python

from penguiflow.durable.tokens import derive
from penguiflow.remote_models import RemoteCallRequest
from penguiflow_a2a.orders import DEADLINE, IDEMPOTENCY
from penguiflow_a2a.parts import parts_of

SKILL = "urn:penguiflow:a2a:skill"
"""Key in a message's metadata: which skill is meant."""
_LONGEST_HEADER = 512


def key_of(request: RemoteCallRequest, generation: int) -> str | None:
    """The idempotency key of a call; another one for each generation, which begins when the task
    of the one before ended without a result."""
    key = request.idempotency_key
    if key is None:
        return None
    return derive("a2a call", request.agent_url, request.skill, key, generation)


def message_request(
    request: RemoteCallRequest, *, key: str | None, tenant: str, left: float | None
) -> SendMessageRequest:
    """What is sent for a call.

    Args:
        request: The call.
        key: Its idempotency key; the id of the message follows from it.
        tenant: Whose agent; empty for none.
        left: Seconds that anybody waits.

    Raises:
        ValueError: the payload cannot be written as JSON.
    """
    content = SendMessageRequest(
        tenant=tenant,
        message=Message(
            message_id=uuid.uuid4().hex if key is None else derive("a2a message", key),
            role=Role.ROLE_USER,
            parts=parts_of(request.message.payload) or parts_of(""),
            context_id=request.context_id or "",
            task_id=request.task_id or "",
        ),
    )
    ParseDict({**_plain(request.metadata), SKILL: request.skill}, content.message.metadata)
    if key is not None:
        content.metadata[IDEMPOTENCY] = key
    if left is not None:
        content.metadata[DEADLINE] = max(left, 0.001)
    return content


def _plain(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """What of the metadata can travel."""
    found: dict[str, Any] = {}
    for name, value in (metadata or {}).items():
        try:
            found[str(name)] = to_jsonable_python(value, inf_nan_mode="strings")
        except (PydanticSerializationError, ValueError, RecursionError):
            continue  # an object of this process, which means nothing elsewhere
    return found


def headers_of(request: RemoteCallRequest, *, key: str | None) -> dict[str, str]:
    """The headers of a call, credentials apart."""
    named = {
        "traceparent": request.traceparent,
        "tracestate": request.tracestate,
        "Idempotency-Key": key,
    }
    return {
        name: value
        for name, value in named.items()
        if value and value.isascii() and value.isprintable() and len(value) <= _LONGEST_HEADER
    }


def understands_us(card: AgentCard) -> bool:
    """Whether the agent declares our extensions: an idempotency key names one task."""
    return any(each.uri == IDEMPOTENCY for each in card.capabilities.extensions)


__all__ = ["SKILL", "headers_of", "key_of", "message_request", "understands_us"]
