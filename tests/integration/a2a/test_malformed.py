"""Bytes that are no message, over gRPC: an answer that says so, and nothing of our inside."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from a2a.types import a2a_pb2 as pb

from penguiflow_a2a import A2AService
from tests.integration.a2a.agents import flow
from tests.integration.a2a.conftest import card, served

_BROKEN = b"\x0a\xff\xff\xff\xff\x0f"


def _as_is(data: bytes) -> bytes:
    return data


@pytest.mark.parametrize("method", ["SendMessage", "GetTask", "CancelTask", "ListTasks"])
async def test_a_malformed_request_is_an_invalid_argument(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = A2AService(flow(), agent_card=card(streaming=True))
    async with served(service) as found:
        call: Any = found.channel.unary_unary(
            f"/lf.a2a.v1.A2AService/{method}", request_serializer=_as_is
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(_BROKEN, timeout=20)
        # The connection is as good as before.
        answer = await found.channel.unary_unary(
            "/lf.a2a.v1.A2AService/ListTasks",
            request_serializer=pb.ListTasksRequest.SerializeToString,
            response_deserializer=pb.ListTasksResponse.FromString,
        )(pb.ListTasksRequest(), metadata=[("a2a-version", "1.0")], timeout=20)
    await service.stop()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "protobuf" in (refused.value.details() or "")
    assert "Traceback" not in caplog.text
    assert answer.total_size == 0


async def test_a_malformed_stream_request_is_an_invalid_argument() -> None:
    service = A2AService(flow(), agent_card=card(streaming=True))
    async with served(service) as found:
        call: Any = found.channel.unary_stream(
            "/lf.a2a.v1.A2AService/SendStreamingMessage", request_serializer=_as_is
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async for _ in call(_BROKEN, timeout=20):
                pass
    await service.stop()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
