"""Speaks each binding by hand, so that tests see what goes over the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
import httpx
from a2a.types import a2a_pb2 as pb
from a2a.types.a2a_pb2_grpc import A2AServiceStub
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict, ParseDict
from google.rpc import error_details_pb2, status_pb2

ANSWERS: dict[str, Any] = {
    "SendMessage": pb.SendMessageResponse,
    "GetTask": pb.Task,
    "ListTasks": pb.ListTasksResponse,
    "CancelTask": pb.Task,
    "CreateTaskPushNotificationConfig": pb.TaskPushNotificationConfig,
    "GetTaskPushNotificationConfig": pb.TaskPushNotificationConfig,
    "ListTaskPushNotificationConfigs": pb.ListTaskPushNotificationConfigsResponse,
    "DeleteTaskPushNotificationConfig": Empty,
    "GetExtendedAgentCard": pb.AgentCard,
    "SendStreamingMessage": pb.StreamResponse,
    "SubscribeToTask": pb.StreamResponse,
}


@dataclass
class Refused(Exception):
    """An error as the wire had it."""

    code: Any
    """JSON-RPC code, HTTP status, or gRPC status."""
    reason: str = ""
    domain: str = ""
    message: str = ""
    raw: Any = field(default=None, repr=False)


class Wire(Protocol):
    binding: str

    async def call(self, operation: str, request: Any, **headers: str) -> Any: ...

    def stream(self, operation: str, request: Any, **headers: str) -> AsyncIterator[Any]: ...


def _headers(given: dict[str, str]) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in given.items()}
    headers = {"a2a-version": "1.0", **named}
    return {name: value for name, value in headers.items() if value != "-"}


def _refused(code: Any, error: dict[str, Any], details: list[Any]) -> Refused:
    info = next((each for each in details if each.get("@type", "").endswith("ErrorInfo")), {})
    return Refused(
        code, info.get("reason", ""), info.get("domain", ""), error.get("message", ""), error
    )


class JsonRpc:
    binding = "JSONRPC"

    def __init__(self, url: str, client: httpx.AsyncClient, tenant: str = "") -> None:
        self.url = url + (f"/{tenant}" if tenant else "/")
        self.client = client

    def body(self, operation: str, request: Any) -> dict[str, Any]:
        params = MessageToDict(request)
        return {"jsonrpc": "2.0", "id": 7, "method": operation, "params": params}

    async def call(self, operation: str, request: Any, **headers: str) -> Any:
        body = self.body(operation, request)
        answer = await self.client.post(self.url, json=body, headers=_headers(headers))
        return self._result(answer, operation)

    def _result(self, answer: httpx.Response, operation: str) -> Any:
        content = answer.json()
        if answer.status_code != 200:
            raise Refused(answer.status_code, message=str(content))
        if "error" in content:
            error = content["error"]
            raise _refused(error["code"], error, error.get("data", []))
        return ParseDict(content["result"] or {}, ANSWERS[operation]())

    async def stream(self, operation: str, request: Any, **headers: str) -> AsyncIterator[Any]:
        body = self.body(operation, request)
        async with self.client.stream(
            "POST", self.url, json=body, headers=_headers(headers)
        ) as answer:
            if not answer.headers["content-type"].startswith("text/event-stream"):
                await answer.aread()
                self._result(answer, operation)
                return
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    content = json.loads(line[5:])
                    if "error" in content:
                        error = content["error"]
                        raise _refused(error["code"], error, error.get("data", []))
                    yield ParseDict(content["result"], ANSWERS[operation]())


PATHS = {
    "SendMessage": ("POST", "/message:send"),
    "SendStreamingMessage": ("POST", "/message:stream"),
    "GetTask": ("GET", "/tasks/{id}"),
    "ListTasks": ("GET", "/tasks"),
    "CancelTask": ("POST", "/tasks/{id}:cancel"),
    "SubscribeToTask": ("GET", "/tasks/{id}:subscribe"),
    "CreateTaskPushNotificationConfig": ("POST", "/tasks/{taskId}/pushNotificationConfigs"),
    "GetTaskPushNotificationConfig": ("GET", "/tasks/{taskId}/pushNotificationConfigs/{id}"),
    "ListTaskPushNotificationConfigs": ("GET", "/tasks/{taskId}/pushNotificationConfigs"),
    "DeleteTaskPushNotificationConfig": ("DELETE", "/tasks/{taskId}/pushNotificationConfigs/{id}"),
    "GetExtendedAgentCard": ("GET", "/extendedAgentCard"),
}


class Rest:
    binding = "HTTP+JSON"

    def __init__(self, url: str, client: httpx.AsyncClient, tenant: str = "") -> None:
        self.url = url + (f"/{tenant}" if tenant else "")
        self.client = client

    def request(self, operation: str, request: Any, headers: dict[str, str]) -> httpx.Request:
        method, path = PATHS[operation]
        fields = MessageToDict(request)
        tenant = fields.get("tenant", "")
        base = f"{self.url}/{tenant}" if tenant and method != "POST" else self.url
        if "{" in path:
            path = path.format(**{"id": "none", "taskId": "none", **fields})
            for name in ("id", "taskId"):
                if "{" + name + "}" in PATHS[operation][1]:
                    fields.pop(name, None)
        if method == "POST":
            kind = {"content-type": "application/a2a+json"}
            return self.client.build_request(
                method, base + path, content=json.dumps(fields), headers={**kind, **headers}
            )
        fields.pop("tenant", None)
        query = {
            name: str(value).lower() if value in (True, False) else value
            for name, value in fields.items()
        }
        return self.client.build_request(method, base + path, params=query, headers=headers)

    async def call(self, operation: str, request: Any, **headers: str) -> Any:
        answer = await self.client.send(self.request(operation, request, _headers(headers)))
        return self._result(answer, operation)

    def _result(self, answer: httpx.Response, operation: str) -> Any:
        content = answer.json()
        if answer.status_code != 200:
            error = content["error"]
            raise _refused(answer.status_code, error, error.get("details", []))
        assert answer.headers["content-type"] == "application/a2a+json"
        return ParseDict(content, ANSWERS[operation]())

    async def stream(self, operation: str, request: Any, **headers: str) -> AsyncIterator[Any]:
        answer = await self.client.send(
            self.request(operation, request, _headers(headers)), stream=True
        )
        try:
            if not answer.headers["content-type"].startswith("text/event-stream"):
                await answer.aread()
                self._result(answer, operation)
                return
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    yield ParseDict(json.loads(line[5:]), ANSWERS[operation]())
        finally:
            await answer.aclose()


class Grpc:
    binding = "GRPC"

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.stub = A2AServiceStub(channel)

    async def call(self, operation: str, request: Any, **headers: str) -> Any:
        try:
            metadata = tuple(_headers(headers).items())
            return await getattr(self.stub, operation)(request, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise _of_grpc(error) from None

    async def stream(self, operation: str, request: Any, **headers: str) -> AsyncIterator[Any]:
        metadata = tuple(_headers(headers).items())
        answers = getattr(self.stub, operation)(request, metadata=metadata)
        try:
            async for answer in answers:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise _of_grpc(error) from None
        finally:
            answers.cancel()


def _of_grpc(error: grpc.aio.AioRpcError) -> Refused:
    found = Refused(error.code(), message=error.details() or "", raw=error)
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Is(info.DESCRIPTOR):
                    detail.Unpack(info)
                    found.reason, found.domain = info.reason, info.domain
    return found


async def collect(wire: Wire, operation: str, request: Any, **headers: str) -> list[Any]:
    """All events of a stream."""
    async with aclosing(wire.stream(operation, request, **headers)) as events:  # type: ignore[type-var]
        return [event async for event in events]


def text(content: str, **fields: Any) -> pb.SendMessageRequest:
    """A request to send a text; fields of the message by keyword."""
    import uuid

    settings = {
        name: fields.pop(name) for name in ("configuration", "metadata", "tenant") if name in fields
    }
    fields.setdefault("message_id", uuid.uuid4().hex)
    message = pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text=content)], **fields)
    request = pb.SendMessageRequest(message=message, tenant=settings.get("tenant", ""))
    if "configuration" in settings:
        request.configuration.CopyFrom(pb.SendMessageConfiguration(**settings["configuration"]))
    if "metadata" in settings:
        request.metadata.update(settings["metadata"])
    return request
