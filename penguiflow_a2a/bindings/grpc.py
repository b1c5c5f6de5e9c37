"""gRPC: the SDK's handler behind the gate that HTTP has too."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from contextvars import ContextVar
from typing import Any, NoReturn, TypeVar

import grpc
from a2a.extensions.common import HTTP_EXTENSION_HEADER, get_requested_extensions
from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.grpc_handler import (
    _ERROR_CODE_MAP,
    GrpcHandler,
    GrpcServerCallContextBuilder,
)
from a2a.types.a2a_pb2_grpc import add_A2AServiceServicer_to_server
from a2a.utils.constants import VERSION_HEADER
from a2a.utils.errors import A2AError

from penguiflow_a2a.bindings.gate import Gate, NotAuthenticated, TooLarge
from penguiflow_a2a.bindings.grpc_malformed import Registering
from penguiflow_a2a.caller import BINDING, HEADERS, PRINCIPAL, VERSION
from penguiflow_a2a.identity import Credentials, Principal
from penguiflow_a2a.limits import LimitExceeded
from penguiflow_a2a.service import A2AService

T = TypeVar("T")

_ERROR_CODE_MAP[LimitExceeded] = grpc.StatusCode.RESOURCE_EXHAUSTED
_REFUSALS = {
    NotAuthenticated: grpc.StatusCode.UNAUTHENTICATED,
    TooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    LimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_principal: ContextVar[Principal] = ContextVar("penguiflow.a2a.principal")


def add_a2a_grpc_service(server: grpc.aio.Server, service: A2AService) -> None:
    """Add a service to a gRPC server. Whoever owns the server stops the service; it starts by
    itself. The server's own limit of a message (4 MB by default) comes before `A2AConfig.max_body`.
    """
    register: Any = add_A2AServiceServicer_to_server  # generated, without types
    register(_Handler(service), Registering(server))


class _Handler(GrpcHandler):
    def __init__(self, service: A2AService) -> None:
        super().__init__(service, _Contexts())
        self._gate = Gate(service)

    async def _handle_unary(
        self,
        request: Any,
        context: grpc.aio.ServicerContext,
        handler_func: Callable[[ServerCallContext], Awaitable[T]],
        default_response: T,
    ) -> T:
        await self._admit(request, context)
        return await super()._handle_unary(request, context, handler_func, default_response)

    async def _handle_stream(
        self,
        request: Any,
        context: grpc.aio.ServicerContext,
        handler_func: Callable[[ServerCallContext], AsyncIterable[T]],
    ) -> AsyncIterable[T]:
        await self._admit(request, context)
        async for item in super()._handle_stream(request, context, handler_func):
            yield item

    async def _admit(self, request: Any, context: grpc.aio.ServicerContext) -> None:
        """Let the request in, or abort it."""
        credentials = Credentials(
            binding="grpc",
            headers=_metadata(context),
            peer=context.peer() or "",
            certificate={
                name: values[0] for name, values in context.auth_context().items() if values
            },
        )
        try:
            self._gate.check_size(request.ByteSize())
            _principal.set(await self._gate.admit(credentials))
        except A2AError as error:
            await _refuse(error, context)


async def _refuse(error: A2AError, context: grpc.aio.ServicerContext) -> NoReturn:
    code = _REFUSALS.get(type(error), grpc.StatusCode.INTERNAL)
    await context.abort(code, error.message)
    raise AssertionError  # abort raises


class _Contexts(GrpcServerCallContextBuilder):
    """Says who calls, in which version."""

    def build(self, context: grpc.aio.ServicerContext) -> ServerCallContext:
        headers = _metadata(context)
        return ServerCallContext(
            state={
                HEADERS: headers,
                VERSION: headers.get(VERSION_HEADER.lower(), ""),
                PRINCIPAL: _principal.get(),
                BINDING: "GRPC",
            },
            requested_extensions=get_requested_extensions(
                [headers.get(HTTP_EXTENSION_HEADER.lower(), "")]
            ),
        )


def _metadata(context: grpc.aio.ServicerContext) -> dict[str, str]:
    """Metadata by name in lower case; of a name that comes several times the values by comma."""
    found: dict[str, str] = {}
    for key, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            name = key.lower()
            found[name] = f"{found[name]},{value}" if name in found else value
    return found


__all__ = ["add_a2a_grpc_service"]
