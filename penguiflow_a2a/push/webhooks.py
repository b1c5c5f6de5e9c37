"""One delivery to a webhook."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

import httpx
from a2a.types.a2a_pb2 import (
    Message,
    StreamResponse,
    Task,
    TaskArtifactUpdateEvent,
    TaskPushNotificationConfig,
    TaskStatusUpdateEvent,
)
from google.protobuf.json_format import MessageToDict

from penguiflow_a2a.outbound import OutboundPolicy, OutboundRefused, check_secret
from penguiflow_a2a.outbound_http import read_limited
from penguiflow_a2a.picture import Event

TOKEN = "X-A2A-Notification-Token"  # noqa: S105 - the name of a header
_MEDIA_TYPE = "application/a2a+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushLimits:
    """How often and for how long is tried. Times are in seconds."""

    attempts: int = 12
    """Failures in a row after which a webhook's job is a dead letter."""
    first_wait: float = 1.0
    longest_wait: float = 300.0
    lease: float = 30.0
    """After a sender dies, others take its jobs over so much later."""
    look_every: float = 2.0
    """Between two looks for jobs that others left."""
    at_once: int = 1024
    """Webhooks that one sender tells at once."""
    pending: int = 64
    """Events that wait for a slow webhook; beyond them it is told the task as it is."""

    def wait(self, failures: int) -> float:
        """Before the next try: jittered, so that not all come back at once."""
        most = min(self.first_wait * 2.0 ** (failures - 1), self.longest_wait)
        return random.uniform(most / 2, most)  # noqa: S311 - not a secret


class NotDelivered(Exception):
    """A webhook did not take a notification.

    Attributes:
        final: Whether it never will.
    """

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


def body_of(event: Event) -> bytes:
    """What a webhook is sent: a `StreamResponse` as JSON."""
    response = StreamResponse()
    match event:
        case Task():
            response = StreamResponse(task=event)
        case Message():
            response = StreamResponse(message=event)
        case TaskStatusUpdateEvent():
            response = StreamResponse(status_update=event)
        case TaskArtifactUpdateEvent():
            response = StreamResponse(artifact_update=event)
    return json.dumps(MessageToDict(response), separators=(",", ":")).encode()


def headers_of(config: TaskPushNotificationConfig) -> dict[str, str]:
    """The headers of a notification. Raises `OutboundRefused` when they cannot be sent."""
    headers = {"Content-Type": _MEDIA_TYPE, "A2A-Version": "1.0", "Accept-Encoding": "identity"}
    if config.token:
        headers[TOKEN] = check_secret(config.token)
    if config.authentication.scheme:
        proof = f"{config.authentication.scheme} {config.authentication.credentials}".strip()
        headers["Authorization"] = check_secret(proof, "the credentials")
    return headers


async def deliver(
    client: httpx.AsyncClient,
    policy: OutboundPolicy,
    config: TaskPushNotificationConfig,
    event: Event,
) -> None:
    """Tell a webhook of an event. Raises `NotDelivered`; its text has no address and no secret."""
    try:
        policy.check_url(config.url)
        request = client.build_request(
            "POST", config.url, content=body_of(event), headers=headers_of(config)
        )
        response = await client.send(request, stream=True)
        try:
            await read_limited(response, policy.max_bytes)
        finally:
            await response.aclose()
    except OutboundRefused as refused:
        msg = f"it is not allowed: {refused}"
        raise NotDelivered(msg) from refused
    except httpx.HTTPError as error:
        raise NotDelivered(type(error).__name__) from error
    if response.status_code == 410:
        msg = "it is gone (410)"
        raise NotDelivered(msg, final=True)
    if not response.is_success:
        msg = f"it answers with status {response.status_code}"
        raise NotDelivered(msg)


__all__ = ["TOKEN", "NotDelivered", "PushLimits", "body_of", "deliver", "headers_of"]
