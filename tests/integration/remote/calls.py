"""What the tests of calls have in common."""

from typing import Any

from penguiflow.remote import RemoteCallRequest
from penguiflow.types import Headers, Message

AGENT = "nats://tester"


def message(payload: Any, **fields: Any) -> Message:
    return Message(payload=payload, headers=Headers(tenant="default"), **fields)


def request(skill: str, payload: Any, **fields: Any) -> RemoteCallRequest:
    return RemoteCallRequest(message=message(payload), skill=skill, agent_url=AGENT, **fields)
