"""The message of a request as an order for the task board. Pure."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from a2a.types.a2a_pb2 import AgentCard, Message, SendMessageRequest
from a2a.utils.errors import ContentTypeNotSupportedError, InvalidParamsError

from penguiflow.durable.tokens import derive
from penguiflow.serving.models import TaskOrder
from penguiflow_a2a.caller import Caller
from penguiflow_a2a.config import A2AConfig

IDEMPOTENCY = "urn:penguiflow:a2a:idempotency-key"
"""Extension, and the key in a request's metadata: the same key gives the same task."""
DEADLINE = "urn:penguiflow:a2a:deadline"
"""Extension, and the key in a request's metadata: seconds until nobody waits any more."""
_LONGEST_KEY = 512
_LONGEST_ID = 256


def order_of(
    params: SendMessageRequest,
    caller: Caller,
    config: A2AConfig,
    *,
    task_id: str = "",
    context_id: str = "",
) -> TaskOrder:
    """The order of a message.

    Args:
        params: The request.
        caller: Who sent it.
        config: Of the service.
        task_id: The task that it belongs to; without one it makes a task.
        context_id: The context of that task.

    Raises:
        InvalidParamsError: key, deadline or context of the request are none.
    """
    key = idempotency_key(params, caller)
    if not task_id:
        task_id = derive("a2a task", caller.owner, key) if key else uuid.uuid4().hex
        context_id = params.message.context_id or uuid.uuid4().hex
    if len(context_id) > _LONGEST_ID:
        msg = f"the contextId is longer than {_LONGEST_ID} characters"
        raise InvalidParamsError(msg)
    return TaskOrder(
        task_id=task_id,
        owner=caller.owner,
        context_id=context_id,
        content=_content(params, caller.tenant),
        budget=_budget(params, config),
        key=key,
        metadata={"principal": caller.principal.name, "tenant": caller.tenant},
        traceparent=caller.traceparent,
    )


def _content(params: SendMessageRequest, tenant: str) -> bytes:
    """What is kept of the request: not its configuration, which may hold credentials."""
    kept = SendMessageRequest(tenant=tenant, message=params.message)
    if params.HasField("metadata"):
        kept.metadata.CopyFrom(params.metadata)
    return kept.SerializeToString()


def _extra(params: SendMessageRequest, name: str) -> Any:
    for metadata in (params.metadata, params.message.metadata):
        if name in metadata.fields:
            value = metadata.fields[name]
            return getattr(value, value.WhichOneof("kind") or "null_value")
    return None


def idempotency_key(params: SendMessageRequest, caller: Caller) -> str:
    """The explicit key of a request; empty for none. Raises `InvalidParamsError`."""
    key = _extra(params, IDEMPOTENCY)
    if key is None:
        key = caller.headers.get("idempotency-key", "")
    if not isinstance(key, str) or len(key) > _LONGEST_KEY:
        msg = f"the idempotency key is no text of at most {_LONGEST_KEY} characters"
        raise InvalidParamsError(msg)
    return key


def _budget(params: SendMessageRequest, config: A2AConfig) -> float | None:
    wanted = _extra(params, DEADLINE)
    if wanted is None:
        return config.task_timeout
    if not isinstance(wanted, float) or not math.isfinite(wanted) or wanted <= 0:
        msg = "the deadline is no positive number of seconds"
        raise InvalidParamsError(msg)
    limits = [config.longest_timeout, *([config.task_timeout] if config.task_timeout else [])]
    return min(wanted, *limits)


def check_input(message: Message, card: AgentCard) -> None:
    """Whether the agent takes what the message holds. Raises `ContentTypeNotSupportedError`."""
    accepted = _modes(card.default_input_modes, (each.input_modes for each in card.skills))
    if not accepted:
        return
    for part in message.parts:
        kind = part.media_type.partition(";")[0].strip().lower()
        if kind and not any(_fits(kind, mode) for mode in accepted):
            msg = f"the agent takes no {kind[:100]}; it takes {', '.join(sorted(accepted))}"
            raise ContentTypeNotSupportedError(msg)


def _modes(default: Sequence[str], skills: Iterable[Sequence[str]]) -> set[str]:
    return {mode.lower() for modes in (default, *skills) for mode in modes}


def _fits(kind: str, mode: str) -> bool:
    if mode in ("*", "*/*"):
        return True
    return kind == mode or (mode.endswith("/*") and kind.startswith(mode[:-1]))
