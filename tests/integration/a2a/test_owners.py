"""Who may see what: tenants and principals, and the limits of each."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from a2a.types import a2a_pb2 as pb

from penguiflow_a2a import A2AConfig, Principal, bearer_tokens, client_certificates
from penguiflow_a2a.identity import Credentials
from tests.integration.a2a.conftest import Serve, card
from tests.integration.a2a.wire import Refused, collect, text

TOKENS = bearer_tokens(
    {
        "ada's": Principal("ada", "acme"),
        "bob's": Principal("bob", "acme"),
        "eve's": Principal("eve", "other"),
        "zoe's": Principal("zoe"),
    }
)
ON = {"streaming": True, "push_notifications": True, "extended_agent_card": True}


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {name}'s"}


OPERATIONS: list[tuple[str, Any]] = [
    ("GetTask", lambda task: pb.GetTaskRequest(id=task)),
    ("CancelTask", lambda task: pb.CancelTaskRequest(id=task)),
    ("SendMessage", lambda task: text("that", task_id=task)),
    (
        "CreateTaskPushNotificationConfig",
        lambda task: pb.TaskPushNotificationConfig(task_id=task, url="https://h.example"),
    ),
    (
        "GetTaskPushNotificationConfig",
        lambda task: pb.GetTaskPushNotificationConfigRequest(task_id=task, id="c"),
    ),
    (
        "ListTaskPushNotificationConfigs",
        lambda task: pb.ListTaskPushNotificationConfigsRequest(task_id=task),
    ),
    (
        "DeleteTaskPushNotificationConfig",
        lambda task: pb.DeleteTaskPushNotificationConfigRequest(task_id=task, id="c"),
    ),
]


async def test_a_foreign_task_is_not_found(serve: Serve, binding: str) -> None:
    wire = (await serve(authenticator=TOKENS, capabilities=ON)).wire(binding)
    task = (await wire.call("SendMessage", text("ask"), **bearer("ada"))).task
    assert (await wire.call("GetTask", pb.GetTaskRequest(id=task.id), **bearer("ada"))).id
    for name in ("bob", "eve", "zoe"):
        for operation, request in OPERATIONS:
            with pytest.raises(Refused) as caught:
                await wire.call(operation, request(task.id), **bearer(name))
            assert caught.value.reason == "TASK_NOT_FOUND", (name, operation)
        with pytest.raises(Refused) as caught:
            await collect(
                wire, "SubscribeToTask", pb.SubscribeToTaskRequest(id=task.id), **bearer(name)
            )
        assert caught.value.reason == "TASK_NOT_FOUND"
        listed = await wire.call("ListTasks", pb.ListTasksRequest(), **bearer(name))
        assert (len(listed.tasks), listed.total_size) == (0, 0)


async def test_a_principal_reaches_its_own_tenant_only(serve: Serve, binding: str) -> None:
    wire = (await serve(authenticator=TOKENS)).wire(binding)
    mine = await wire.call("SendMessage", text("tenant", tenant="acme"), **bearer("ada"))
    assert mine.task.artifacts[0].parts[0].text == "acme"
    with pytest.raises(Refused) as caught:
        await wire.call("SendMessage", text("tenant", tenant="other"), **bearer("ada"))
    assert caught.value.reason == "TASK_NOT_FOUND"
    any_tenant = await wire.call("SendMessage", text("tenant", tenant="mine"), **bearer("zoe"))
    assert any_tenant.task.artifacts[0].parts[0].text == "mine"


@pytest.mark.parametrize("header", ["-", "Bearer wrong", "Basic YTpi", "Bearer"])
async def test_who_is_not_known_is_refused(serve: Serve, binding: str, header: str) -> None:
    wire = (await serve(authenticator=TOKENS)).wire(binding)
    with pytest.raises(Refused) as caught:
        await wire.call("SendMessage", text("x"), authorization=header)
    assert caught.value.code in (401, grpc.StatusCode.UNAUTHENTICATED)


async def test_the_extended_card_is_for_those_who_are_known(serve: Serve, binding: str) -> None:
    more = card(**ON)
    more.description = "More for those who are known."

    async def only_ada(principal: Principal) -> bool:
        return principal.name == "ada"

    served = await serve(
        authenticator=TOKENS,
        capabilities=ON,
        extended_agent_card=more,
        extended_agent_card_auth=only_ada,
    )
    wire, request = served.wire(binding), pb.GetExtendedAgentCardRequest()
    found = await wire.call("GetExtendedAgentCard", request, **bearer("ada"))
    assert found.description == more.description
    with pytest.raises(Refused):
        await wire.call("GetExtendedAgentCard", request, **bearer("bob"))
    open_to_all = (await serve(capabilities=ON, extended_agent_card=more)).wire(binding)
    with pytest.raises(Refused):
        await open_to_all.call("GetExtendedAgentCard", request)
    without = (await serve(capabilities=ON)).wire(binding)
    with pytest.raises(Refused) as caught:
        await without.call("GetExtendedAgentCard", request)
    assert caught.value.reason == "EXTENDED_AGENT_CARD_NOT_CONFIGURED"


async def test_requests_of_one_principal_are_limited(serve: Serve, binding: str) -> None:
    config = A2AConfig(requests_per_second=5)
    wire = (await serve(authenticator=TOKENS, config=config)).wire(binding)
    calls = [wire.call("ListTasks", pb.ListTasksRequest(), **bearer("ada")) for _ in range(20)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    codes = {each.code for each in answers if isinstance(each, Refused)}
    assert len(codes) == 1
    assert codes <= {429, -32029, grpc.StatusCode.RESOURCE_EXHAUSTED}
    await wire.call("ListTasks", pb.ListTasksRequest(), **bearer("bob"))


async def test_open_streams_of_one_owner_are_limited(serve: Serve, binding: str) -> None:
    wire = (await serve(config=A2AConfig(max_open_streams=1))).wire(binding)
    asked = (await wire.call("SendMessage", text("ask"))).task
    request = pb.SubscribeToTaskRequest(id=asked.id)
    stream = wire.stream("SubscribeToTask", request)
    await anext(stream)
    with pytest.raises(Refused) as caught:
        await collect(wire, "SubscribeToTask", request)
    assert caught.value.reason == "LIMIT_EXCEEDED"
    await stream.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        while True:  # the server hears of it a little later
            try:
                stream = wire.stream("SubscribeToTask", request)
                await anext(stream)
                break
            except Refused:
                await asyncio.sleep(0.05)
    await stream.aclose()  # type: ignore[attr-defined]


async def test_a_certificate_names_its_principal() -> None:
    authenticate = client_certificates({"ada": "acme"})

    def of(name: bytes) -> Credentials:
        return Credentials(binding="grpc", headers={}, certificate={"x509_common_name": name})

    assert await authenticate(of(b"ada")) == Principal("ada", "acme")
    assert await authenticate(of(b"eve")) is None
    assert await authenticate(Credentials(binding="grpc", headers={})) is None


async def test_credentials_are_not_shown_by_their_repr(tmp_path: Path) -> None:
    credentials = Credentials(binding="http", headers={"authorization": "Bearer secret"})
    assert "secret" not in repr(credentials)
