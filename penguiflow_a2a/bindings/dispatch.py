"""The SDK's dispatchers, with streams of our own."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from a2a.server.context import ServerCallContext
from a2a.server.request_handlers.response_helpers import build_error_response
from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
from a2a.server.routes.rest_dispatcher import RestDispatcher
from a2a.types.a2a_pb2 import SendMessageRequest, SubscribeToTaskRequest
from a2a.utils.error_handlers import build_rest_error_payload, rest_stream_error_handler
from a2a.utils.errors import A2AError, InternalError
from google.protobuf.json_format import Parse
from starlette.requests import Request
from starlette.responses import Response

from penguiflow_a2a.bindings.event_stream import EventStream
from penguiflow_a2a.event_json import event_json
from penguiflow_a2a.picture import Event


async def _begun(
    events: AsyncGenerator[Event, None], before: str = "", after: str = ""
) -> AsyncGenerator[str, None]:
    """The events as JSON, once the first one is there. Raises what comes before it."""
    first = await anext(events)

    async def frames() -> AsyncGenerator[str, None]:
        try:
            yield before + event_json(first) + after
            async for event in events:
                yield before + event_json(event) + after
        finally:
            await events.aclose()

    return frames()


class JsonRpc(JsonRpcDispatcher):
    """JSON-RPC."""

    async def _process_streaming_request(
        self, request_id: str | int | None, request_obj: Any, context: ServerCallContext
    ) -> AsyncGenerator[Any, None]:
        handler: Any = self.request_handler
        if context.state.get("method") == "SubscribeToTask":
            events = handler.on_subscribe_to_task(request_obj, context)
        else:
            events = handler.on_message_send_stream(request_obj, context)
        before = f'{{"jsonrpc": "2.0", "id": {json.dumps(request_id)}, "result": '
        return await _begun(events, before, "}")

    def _create_response(self, context: ServerCallContext, handler_result: Any) -> Response:
        if not isinstance(handler_result, AsyncGenerator):
            response: Response = super()._create_response(context, handler_result)
            return response

        def failed(error: Exception) -> str:
            known = error if isinstance(error, A2AError) else InternalError()
            return json.dumps(build_error_response(context.state.get("request_id"), known))

        return EventStream(handler_result, failed=failed)


class Rest(RestDispatcher):
    """HTTP+JSON."""

    @rest_stream_error_handler
    async def on_message_send_stream(self, request: Request) -> Response:
        """See `RestDispatcher`."""
        params = SendMessageRequest()
        Parse(await request.body(), params, ignore_unknown_fields=True)
        context = self._build_call_context(request)
        return await self._stream(self.request_handler.on_message_send_stream(params, context))

    @rest_stream_error_handler
    async def on_subscribe_to_task(self, request: Request) -> Response:
        """See `RestDispatcher`."""
        params = SubscribeToTaskRequest(id=request.path_params["id"])
        context = self._build_call_context(request)
        return await self._stream(self.request_handler.on_subscribe_to_task(params, context))

    @staticmethod
    async def _stream(events: Any) -> Response:
        def failed(error: Exception) -> str:
            return json.dumps(build_rest_error_payload(error))

        return EventStream(await _begun(events), failed=failed)
