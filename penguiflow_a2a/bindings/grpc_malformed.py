"""Requests over gRPC that are no protobuf message: refused as what they are.

gRPC reads a request before any handler of ours sees it, answers UNKNOWN when that fails, tells the
caller an internal exception and logs a traceback for each. Here the failure is handed on instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

_TEXT: Final = "the request is no protobuf message of this operation"


class _Malformed:
    """Stands in for a request that cannot be read."""


_MALFORMED: Final = _Malformed()


class Registering:
    """A server, as generated code sees it, whose handlers are told of malformed requests."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server: Any = server

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """As of a server."""
        self._server.add_generic_rpc_handlers(tuple(_Generic(each) for each in handlers))

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """As of a server."""
        told = {name: _told(handler) for name, handler in handlers.items()}
        self._server.add_registered_method_handlers(service, told)


class _Generic(grpc.GenericRpcHandler):
    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def service(self, handler_call_details: Any) -> Any:
        found = self._handler.service(handler_call_details)
        return None if found is None else _told(found)


def _told(handler: Any) -> Any:
    """The handler, with a request that may be `_MALFORMED`, which it refuses."""
    read = _reading(handler.request_deserializer)
    if handler.response_streaming:
        streaming: Any = _refusing_stream(handler.unary_stream)
        return grpc.unary_stream_rpc_method_handler(streaming, read, handler.response_serializer)
    unary: Any = _refusing(handler.unary_unary)
    return grpc.unary_unary_rpc_method_handler(unary, read, handler.response_serializer)


def _reading(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except (DecodeError, UnicodeDecodeError):
            return _MALFORMED

    return read


def _refusing(behaviour: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    async def handle(request: Any, context: grpc.aio.ServicerContext) -> Any:
        if request is _MALFORMED:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _TEXT)
        return await behaviour(request, context)

    return handle


def _refusing_stream(behaviour: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    async def handle(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        if request is _MALFORMED:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _TEXT)
        async for item in behaviour(request, context):
            yield item

    return handle


__all__ = ["Registering"]
