"""JSON-RPC and HTTP+JSON: the SDK's dispatchers behind a gate of ours."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

from a2a.extensions.common import HTTP_EXTENSION_HEADER, get_requested_extensions
from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.response_helpers import build_error_response
from a2a.server.routes.common import ServerCallContextBuilder
from a2a.server.routes.rest_routes import create_rest_routes
from a2a.utils.constants import PROTOCOL_VERSION_1_0, VERSION_HEADER
from a2a.utils.error_handlers import build_rest_error_payload
from a2a.utils.errors import A2AError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, Router

from penguiflow_a2a.bindings.dispatch import JsonRpc, Rest
from penguiflow_a2a.bindings.gate import Gate, NotAuthenticated, TooLarge, check_content_type
from penguiflow_a2a.caller import BINDING, HEADERS, PATH_TENANT, PRINCIPAL, VERSION
from penguiflow_a2a.card_route import card_route
from penguiflow_a2a.identity import ANONYMOUS, Credentials
from penguiflow_a2a.service import A2AService

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

_PRINCIPAL = "penguiflow.a2a.principal"
_JSONRPC, _REST = "JSONRPC", "HTTP+JSON"


def create_a2a_http_router(service: A2AService) -> Router:
    """The routes of a service: its card, JSON-RPC at `/`, HTTP+JSON beside it; and the same below
    `/{tenant}` unless `A2AConfig.allow_tenant_prefix` is off."""
    return Router(routes=_routes(service))


def install_a2a_http(app: Any, service: A2AService) -> None:
    """Add the routes of a service to an app of Starlette or FastAPI. Whoever owns the app stops the
    service; it starts by itself."""
    app.router.routes.extend(_routes(service))


def create_a2a_http_app(service: A2AService) -> Starlette:
    """An app that serves a service and nothing else; it starts and stops the service."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    return Starlette(routes=_routes(service), lifespan=lifespan)


def _routes(service: A2AService) -> list[BaseRoute]:
    gate, tenants = Gate(service), service.config.allow_tenant_prefix
    rpc, streams = JsonRpc(service, _Contexts(_JSONRPC)), Rest(service, _Contexts(_REST))
    jsonrpc = [Route("/", rpc.handle_requests, methods=["POST"])]
    rest = create_rest_routes(service, _Contexts(_REST))
    own = {
        "/message:stream": streams.on_message_send_stream,
        "/tasks/{id}:subscribe": streams.on_subscribe_to_task,
    }
    plain: list[BaseRoute] = [card_route(service.agent_card, service.config.card_max_age)]
    below: list[BaseRoute] = []
    for binding, routes in ((_REST, rest), (_JSONRPC, jsonrpc)):
        for route in routes:
            if not isinstance(route, Route):
                continue  # the SDK's own mount of tenants; ours follows
            answering = own.get(route.path, route.endpoint)
            endpoint, methods = _gated(answering, gate, binding), list(route.methods or ())
            plain.append(Route(route.path, endpoint, methods=methods))
            path = "/{tenant}" + route.path.rstrip("/")
            below.append(Route(path, endpoint, methods=methods))
    return plain + (below if tenants else [])


class _Contexts(ServerCallContextBuilder):
    """Says who calls, in which version."""

    def __init__(self, binding: str) -> None:
        self._binding = binding

    def build(self, request: Request) -> ServerCallContext:
        headers = dict(request.headers)
        version = headers.get(VERSION_HEADER.lower()) or request.query_params.get(VERSION_HEADER)
        # The SDK looks at the major version of the header alone; the service looks at all of it.
        headers[VERSION_HEADER.lower()] = PROTOCOL_VERSION_1_0
        return ServerCallContext(
            state={
                HEADERS: headers,
                VERSION: version or "",
                PRINCIPAL: request.scope.get(_PRINCIPAL, ANONYMOUS),
                PATH_TENANT: request.path_params.get("tenant", ""),
                BINDING: self._binding,
            },
            requested_extensions=get_requested_extensions(
                request.headers.getlist(HTTP_EXTENSION_HEADER)
            ),
        )


def _gated(endpoint: Endpoint, gate: Gate, binding: str) -> Endpoint:
    async def gated(request: Request) -> Response:
        try:
            credentials = Credentials(
                binding="http",
                headers=dict(request.headers),
                peer=f"{request.client.host}:{request.client.port}" if request.client else "",
            )
            request.scope[_PRINCIPAL] = await gate.admit(credentials)
            if request.method == "POST":
                check_content_type(request.headers.get("content-type", ""))
                request = await _bounded(request, gate)
        except A2AError as error:
            return _refusal(error, binding)
        return await endpoint(request)

    return gated


async def _bounded(request: Request, gate: Gate) -> Request:
    """The request with its body at hand. Raises `TooLarge`."""
    length = request.headers.get("content-length", "")
    if length.isdecimal():
        gate.check_size(int(length))
    parts, size = list[bytes](), 0
    async for part in request.stream():
        size += len(part)
        gate.check_size(size)
        parts.append(part)
    body: bytes | None = b"".join(parts)
    receive = request.receive

    async def replay() -> Any:
        nonlocal body
        if body is None:
            return await receive()
        message, body = {"type": "http.request", "body": body, "more_body": False}, None
        return message

    return Request(request.scope, replay)


def _refusal(error: A2AError, binding: str) -> Response:
    if isinstance(error, NotAuthenticated):
        content = _status(401, "UNAUTHENTICATED", error.message)
        return JSONResponse(content, 401, {"WWW-Authenticate": "Bearer"})
    if isinstance(error, TooLarge):
        return JSONResponse(_status(413, "OUT_OF_RANGE", error.message), 413)
    if binding == _JSONRPC:
        return JSONResponse(build_error_response(None, error))
    content = build_rest_error_payload(error)
    return JSONResponse(content, content["error"]["code"])


def _status(code: int, status: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "status": status, "message": message}}


__all__ = ["create_a2a_http_app", "create_a2a_http_router", "install_a2a_http"]
