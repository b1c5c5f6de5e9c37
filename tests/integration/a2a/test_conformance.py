"""What the protocol says of errors, versions, ids, lists and cards, over all bindings."""

from __future__ import annotations

import json
from typing import Any

import grpc
import httpx
import pytest
from a2a.types import a2a_pb2 as pb

from penguiflow_a2a import A2AConfig
from tests.integration.a2a.conftest import Serve, Served, card
from tests.integration.a2a.wire import Refused, Rest, collect, text

S = grpc.StatusCode
TABLE: dict[str, tuple[int, Any, int]] = {
    "TASK_NOT_FOUND": (-32001, S.NOT_FOUND, 404),
    "TASK_NOT_CANCELABLE": (-32002, S.FAILED_PRECONDITION, 400),
    "PUSH_NOTIFICATION_NOT_SUPPORTED": (-32003, S.FAILED_PRECONDITION, 400),
    "UNSUPPORTED_OPERATION": (-32004, S.FAILED_PRECONDITION, 400),
    "CONTENT_TYPE_NOT_SUPPORTED": (-32005, S.INVALID_ARGUMENT, 400),
    "EXTENDED_AGENT_CARD_NOT_CONFIGURED": (-32007, S.FAILED_PRECONDITION, 400),
    "EXTENSION_SUPPORT_REQUIRED": (-32008, S.FAILED_PRECONDITION, 400),
    "VERSION_NOT_SUPPORTED": (-32009, S.FAILED_PRECONDITION, 400),
    "INVALID_PARAMS": (-32602, S.INVALID_ARGUMENT, 400),
}
ON = {"streaming": True, "push_notifications": True, "extended_agent_card": True}


async def refused(served: Served, binding: str, operation: str, request: Any, **more: str) -> str:
    """The reason of a refusal, once its code is the one of the table."""
    wire = served.wire(binding)
    streams = operation in ("SendStreamingMessage", "SubscribeToTask")
    ask = collect if streams else type(wire).call
    with pytest.raises(Refused) as caught:
        await ask(wire, operation, request, **more)
    error = caught.value
    assert error.domain == "a2a-protocol.org"
    assert error.message
    codes = dict(zip(("JSONRPC", "GRPC", "HTTP+JSON"), TABLE[error.reason], strict=True))
    assert error.code == codes[binding]
    return error.reason


UNKNOWN: list[tuple[str, Any]] = [
    ("GetTask", pb.GetTaskRequest(id="none")),
    ("CancelTask", pb.CancelTaskRequest(id="none")),
    ("SubscribeToTask", pb.SubscribeToTaskRequest(id="none")),
    ("SendMessage", text("x", task_id="none")),
    ("SendStreamingMessage", text("x", task_id="none")),
    (
        "CreateTaskPushNotificationConfig",
        pb.TaskPushNotificationConfig(task_id="none", url="https://hook.example/x"),
    ),
    (
        "GetTaskPushNotificationConfig",
        pb.GetTaskPushNotificationConfigRequest(task_id="none", id="c"),
    ),
    ("ListTaskPushNotificationConfigs", pb.ListTaskPushNotificationConfigsRequest(task_id="none")),
    (
        "DeleteTaskPushNotificationConfig",
        pb.DeleteTaskPushNotificationConfigRequest(task_id="none", id="c"),
    ),
]


async def test_a_task_that_is_unknown_is_not_found_in_every_operation(
    serve: Serve, binding: str
) -> None:
    served = await serve(capabilities=ON)
    for operation, request in UNKNOWN:
        assert await refused(served, binding, operation, request) == "TASK_NOT_FOUND", operation


async def test_what_the_card_does_not_promise_is_refused(serve: Serve, binding: str) -> None:
    served = await serve(capabilities={})
    task = (await served.wire(binding).call("SendMessage", text("hello"))).task
    for operation, request in (
        ("SendStreamingMessage", text("x")),
        ("SubscribeToTask", pb.SubscribeToTaskRequest(id=task.id)),
        ("GetExtendedAgentCard", pb.GetExtendedAgentCardRequest()),
    ):
        assert await refused(served, binding, operation, request) == "UNSUPPORTED_OPERATION"
    for operation, request in UNKNOWN[5:]:
        reason = await refused(served, binding, operation, request)
        assert reason == "PUSH_NOTIFICATION_NOT_SUPPORTED"
    inline = {
        "task_push_notification_config": pb.TaskPushNotificationConfig(url="https://h.example")
    }
    reason = await refused(served, binding, "SendMessage", text("x", configuration=inline))
    assert reason == "PUSH_NOTIFICATION_NOT_SUPPORTED"


async def test_without_capabilities_the_core_works(serve: Serve, binding: str) -> None:
    wire = (await serve(capabilities={})).wire(binding)
    task = (await wire.call("SendMessage", text("hello"))).task
    assert (await wire.call("GetTask", pb.GetTaskRequest(id=task.id))).id == task.id
    assert [each.id for each in (await wire.call("ListTasks", pb.ListTasksRequest())).tasks] == [
        task.id
    ]


async def test_a_task_that_is_over_is_neither_cancelled_nor_followed(
    serve: Serve, binding: str
) -> None:
    served = await serve(capabilities=ON)
    task = (await served.wire(binding).call("SendMessage", text("hello"))).task
    cancel = pb.CancelTaskRequest(id=task.id)
    assert await refused(served, binding, "CancelTask", cancel) == "TASK_NOT_CANCELABLE"
    subscribe = pb.SubscribeToTaskRequest(id=task.id)
    assert await refused(served, binding, "SubscribeToTask", subscribe) == "UNSUPPORTED_OPERATION"


async def test_cancelling_again_says_the_same(serve: Serve, binding: str) -> None:
    wire = (await serve()).wire(binding)
    request = text("sleep 60", configuration={"return_immediately": True})
    task = (await wire.call("SendMessage", request)).task
    for _ in range(2):
        cancelled = await wire.call("CancelTask", pb.CancelTaskRequest(id=task.id))
        assert cancelled.status.state == pb.TASK_STATE_CANCELED
    assert (await wire.call("GetTask", pb.GetTaskRequest(id=task.id))).status.state == (
        pb.TASK_STATE_CANCELED
    )


@pytest.mark.parametrize("version", ["-", "", "0.3", "2.0", "1.9", "1", "abc", "1.0.0.0"])
async def test_other_versions_are_refused(serve: Serve, binding: str, version: str) -> None:
    served = await serve(capabilities=ON)
    for operation, request in (("SendMessage", text("x")), ("SendStreamingMessage", text("x"))):
        reason = await refused(served, binding, operation, request, a2a_version=version)
        assert reason == "VERSION_NOT_SUPPORTED"


async def test_a_patch_version_is_the_same_version(serve: Serve, binding: str) -> None:
    wire = (await serve()).wire(binding)
    answer = await wire.call("SendMessage", text("hello"), a2a_version="1.0.7")
    assert answer.task.status.state == pb.TASK_STATE_COMPLETED


async def test_the_version_may_be_in_the_query(serve: Serve) -> None:
    served = await serve()
    for path, body in (
        (
            "/message:send",
            {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}]}},
        ),
        ("/", {"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}}),
    ):
        for version, good in (("1.0", True), ("1.9", False)):
            url = f"{served.url}{path}?A2A-Version={version}"
            answer = await served.client.post(url, json=body)
            assert ("error" not in answer.json()) == good


async def test_a_context_is_inferred_from_the_task_and_a_mismatch_refused(
    serve: Serve, binding: str
) -> None:
    served = await serve()
    wire = served.wire(binding)
    asked = (await wire.call("SendMessage", text("ask", context_id="my context"))).task
    assert asked.context_id == "my context"
    wrong = text("that", task_id=asked.id, context_id="another")
    assert await refused(served, binding, "SendMessage", wrong) == "INVALID_PARAMS"
    done = (await wire.call("SendMessage", text("that", task_id=asked.id))).task
    assert done.context_id == "my context"


async def test_required_fields_are_required(serve: Serve, binding: str) -> None:
    served = await serve(capabilities=ON)
    empty = pb.SendMessageRequest(message=pb.Message(message_id="m", role=pb.ROLE_USER))
    assert await refused(served, binding, "SendMessage", empty) == "INVALID_PARAMS"
    assert await refused(served, binding, "SendStreamingMessage", empty) == "INVALID_PARAMS"


async def test_parts_of_other_media_types_are_refused(serve: Serve, binding: str) -> None:
    served = await serve()
    request = text("x")
    request.message.parts.add(raw=b"\x00", media_type="image/png")
    reason = await refused(served, binding, "SendMessage", request)
    assert reason == "CONTENT_TYPE_NOT_SUPPORTED"


async def test_a_required_extension_must_be_declared(serve: Serve, binding: str) -> None:
    wanted = pb.AgentExtension(uri="urn:x", required=True)
    served = await serve(agent_card=card(streaming=True, extensions=[wanted]))
    reason = await refused(served, binding, "SendMessage", text("x"))
    assert reason == "EXTENSION_SUPPORT_REQUIRED"
    answer = await served.wire(binding).call(
        "SendMessage", text("x"), a2a_extensions="urn:y, urn:x"
    )
    assert answer.task.id


async def test_history_length_shortens_from_the_front(serve: Serve, binding: str) -> None:
    served = await serve()
    wire = served.wire(binding)
    asked = (await wire.call("SendMessage", text("ask"))).task
    done = (await wire.call("SendMessage", text("that", task_id=asked.id))).task
    for length, texts in ((None, ["ask", "which one?", "that"]), (1, ["that"]), (0, [])):
        request = pb.GetTaskRequest(id=done.id)
        if length is not None:
            request.history_length = length
        task = await wire.call("GetTask", request)
        assert [each.parts[0].text for each in task.history] == texts
    request = pb.GetTaskRequest(id=done.id, history_length=-1)
    assert await refused(served, binding, "GetTask", request) == "INVALID_PARAMS"
    sent = await wire.call("SendMessage", text("hi", configuration={"history_length": 0}))
    assert not sent.task.history


async def test_lists_are_filtered_and_newest_first(serve: Serve, binding: str) -> None:
    served = await serve()
    wire = served.wire(binding)
    ids = [
        (await wire.call("SendMessage", text("hello", context_id=f"c{n % 2}"))).task.id
        for n in range(4)
    ]
    asked = (await wire.call("SendMessage", text("ask", context_id="c0"))).task.id
    page = await wire.call("ListTasks", pb.ListTasksRequest())
    assert [each.id for each in page.tasks] == [asked, *reversed(ids)]
    assert (page.total_size, page.next_page_token, page.page_size) == (5, "", 50)
    assert not any(each.artifacts for each in page.tasks)
    full = await wire.call("ListTasks", pb.ListTasksRequest(include_artifacts=True))
    assert [bool(each.artifacts) for each in full.tasks] == [False, True, True, True, True]
    some = await wire.call("ListTasks", pb.ListTasksRequest(context_id="c0"))
    assert [each.id for each in some.tasks] == [asked, ids[2], ids[0]]
    assert some.total_size == 3
    done = await wire.call("ListTasks", pb.ListTasksRequest(status=pb.TASK_STATE_COMPLETED))
    assert (len(done.tasks), done.total_size) == (4, 4)
    request = pb.ListTasksRequest()
    request.status_timestamp_after.CopyFrom(page.tasks[1].status.timestamp)
    later = await wire.call("ListTasks", request)
    assert {asked, ids[3]} <= {each.id for each in later.tasks}
    request.status_timestamp_after.FromSeconds(4_000_000_000)
    assert not (await wire.call("ListTasks", request)).tasks


async def test_pages_are_stable_while_tasks_are_written(serve: Serve, binding: str) -> None:
    wire = (await serve()).wire(binding)
    ids = [(await wire.call("SendMessage", text("hello"))).task.id for _ in range(5)]
    seen: list[str] = []
    token = ""
    while True:
        request = pb.ListTasksRequest(page_size=2, page_token=token)
        page = await wire.call("ListTasks", request)
        seen += [each.id for each in page.tasks]
        token = page.next_page_token
        if not token:
            break
        await wire.call("SendMessage", text("in between"))
    assert seen == ids[::-1]


@pytest.mark.parametrize("size", [0, -1, 101])
async def test_page_sizes_have_bounds(serve: Serve, binding: str, size: int) -> None:
    served = await serve()
    request = pb.ListTasksRequest(page_size=size)
    assert await refused(served, binding, "ListTasks", request) == "INVALID_PARAMS"


async def test_a_page_token_of_none_is_refused(serve: Serve, binding: str) -> None:
    served = await serve()
    request = pb.ListTasksRequest(page_token="x y")
    assert await refused(served, binding, "ListTasks", request) == "INVALID_PARAMS"


async def test_push_configurations_are_kept_without_showing_credentials(
    serve: Serve, binding: str
) -> None:
    served = await serve(capabilities=ON)
    wire = served.wire(binding)
    task = (await wire.call("SendMessage", text("ask"))).task
    config = pb.TaskPushNotificationConfig(task_id=task.id, id="c1", url="https://hook.example/a")
    config.authentication.scheme = "Bearer"
    config.authentication.credentials = "secret"
    made = await wire.call("CreateTaskPushNotificationConfig", config)
    assert (made.id, made.url, made.authentication.credentials) == ("c1", config.url, "")
    unnamed = pb.TaskPushNotificationConfig(task_id=task.id, url="https://hook.example/b")
    other = await wire.call("CreateTaskPushNotificationConfig", unnamed)
    assert other.id
    get = pb.GetTaskPushNotificationConfigRequest(task_id=task.id, id="c1")
    assert (await wire.call("GetTaskPushNotificationConfig", get)).url == config.url
    every = pb.ListTaskPushNotificationConfigsRequest(task_id=task.id)
    listed = await wire.call("ListTaskPushNotificationConfigs", every)
    assert {each.id for each in listed.configs} == {"c1", other.id}
    delete = pb.DeleteTaskPushNotificationConfigRequest(task_id=task.id, id="c1")
    for _ in range(2):
        await wire.call("DeleteTaskPushNotificationConfig", delete)
    assert await refused(served, binding, "GetTaskPushNotificationConfig", get) == "TASK_NOT_FOUND"
    config.url = "http://hook.example/plain"
    reason = await refused(served, binding, "CreateTaskPushNotificationConfig", config)
    assert reason == "INVALID_PARAMS"
    config.url, config.token = "https://hook.example/a", "a\r\nb"
    reason = await refused(served, binding, "CreateTaskPushNotificationConfig", config)
    assert reason == "INVALID_PARAMS"


async def test_a_configuration_comes_with_the_message_too(serve: Serve, binding: str) -> None:
    wire = (await serve(capabilities=ON)).wire(binding)
    inline = {
        "task_push_notification_config": pb.TaskPushNotificationConfig(
            id="c", url="https://hook.example/x"
        )
    }
    task = (await wire.call("SendMessage", text("hello", configuration=inline))).task
    get = pb.GetTaskPushNotificationConfigRequest(task_id=task.id, id="c")
    assert (await wire.call("GetTaskPushNotificationConfig", get)).task_id == task.id


async def test_subscribers_see_the_task_and_then_the_same_events(
    serve: Serve, binding: str
) -> None:
    served = await serve()
    wire = served.wire(binding)
    asked = (await wire.call("SendMessage", text("ask"))).task
    request = pb.SubscribeToTaskRequest(id=asked.id)
    streams = [wire.stream("SubscribeToTask", request) for _ in range(2)]
    seen = [[await anext(each)] for each in streams]
    await wire.call("SendMessage", text("chunks 3", task_id=asked.id))
    for events, stream in zip(seen, streams, strict=True):
        events += [event async for event in stream]
    first, second = seen
    assert first[0].task.status.state == pb.TASK_STATE_INPUT_REQUIRED
    assert [str(each) for each in first] == [str(each) for each in second]
    texts = [
        each.artifact_update.artifact.parts[0].text
        for each in first
        if each.artifact_update.artifact.artifact_id == "stream"
    ]
    assert texts == ["0,", "1,", "2,"]
    assert first[-1].status_update.status.state == pb.TASK_STATE_COMPLETED


async def test_subscribe_works_by_get_and_by_post(serve: Serve) -> None:
    served = await serve()
    wire = served.wire("HTTP+JSON")
    asked = (await wire.call("SendMessage", text("ask"))).task
    for method in ("GET", "POST"):
        url = f"{served.url}/tasks/{asked.id}:subscribe"
        async with served.client.stream(method, url, headers={"A2A-Version": "1.0"}) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    assert json.loads(line[5:])["task"]["id"] == asked.id
                    break


async def test_the_content_type_is_looked_at_before_the_body(serve: Serve) -> None:
    served = await serve()
    for path in ("/", "/message:send", "/message:stream"):
        answer = await served.client.post(
            served.url + path, content=b"{not json", headers={"content-type": "text/plain"}
        )
        assert "CONTENT_TYPE_NOT_SUPPORTED" in answer.text
    for kind in ("application/json", "application/a2a+json", "application/json; charset=utf-8"):
        answer = await served.client.post(
            served.url + "/message:send",
            content=json.dumps(
                {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]}}
            ),
            headers={"content-type": kind, "A2A-Version": "1.0"},
        )
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/a2a+json"


async def test_malformed_json_is_a_parse_error(serve: Serve) -> None:
    served = await serve()
    headers = {"content-type": "application/json", "A2A-Version": "1.0"}
    rpc = await served.client.post(served.url + "/", content=b"{", headers=headers)
    assert rpc.json()["error"]["code"] == -32700
    rest = await served.client.post(served.url + "/message:send", content=b"{", headers=headers)
    assert rest.status_code == 400
    unknown = await served.client.post(
        served.url + "/", json={"jsonrpc": "2.0", "id": 1, "method": "tasks/get"}, headers=headers
    )
    assert unknown.json()["error"]["code"] == -32601
    old = await served.client.post(
        served.url + "/", json={"jsonrpc": "1.0", "id": 1, "method": "GetTask"}, headers=headers
    )
    assert old.json()["error"]["code"] == -32600


async def test_a_tenant_is_named_by_path_or_by_field(serve: Serve, binding: str) -> None:
    served = await serve()
    answer = await served.wire(binding).call("SendMessage", text("tenant", tenant="acme"))
    assert answer.task.artifacts[0].parts[0].text == "acme"
    other = await served.wire(binding).call("ListTasks", pb.ListTasksRequest())
    assert not other.tasks
    mine = await served.wire(binding).call("ListTasks", pb.ListTasksRequest(tenant="acme"))
    assert [each.id for each in mine.tasks] == [answer.task.id]
    if binding != "GRPC":
        path = await served.wire(binding, "acme").call("SendMessage", text("tenant"))
        assert path.task.artifacts[0].parts[0].text == "acme"
        wire = served.wire(binding, "acme")
        with pytest.raises(Refused) as caught:
            await wire.call("SendMessage", text("tenant", tenant="other"))
        assert caught.value.reason == "INVALID_PARAMS"


async def test_tenant_paths_can_be_switched_off(serve: Serve) -> None:
    served = await serve(config=A2AConfig(allow_tenant_prefix=False))
    answer = await served.client.get(f"{served.url}/acme/tasks", headers={"A2A-Version": "1.0"})
    assert answer.status_code == 404


async def test_the_card_is_cached_and_revalidated(serve: Serve) -> None:
    served = await serve()
    url = served.url + "/.well-known/agent-card.json"
    found = await served.client.get(url)
    assert found.json()["name"] == "tester"
    assert "url" not in found.json()  # a field of version 0.3
    assert "max-age" in found.headers["cache-control"]
    for headers in (
        {"If-None-Match": found.headers["etag"]},
        {"If-Modified-Since": found.headers["last-modified"]},
    ):
        again = await served.client.get(url, headers=headers)
        assert (again.status_code, again.content) == (304, b"")
    changed = await served.client.get(url, headers={"If-None-Match": '"other"'})
    assert changed.status_code == 200


async def test_a_body_has_a_largest_size(serve: Serve) -> None:
    served = await serve(config=A2AConfig(max_body=10_000))
    for binding, code in (("JSONRPC", 413), ("GRPC", S.RESOURCE_EXHAUSTED)):
        with pytest.raises(Refused) as caught:
            await served.wire(binding).call("SendMessage", text("x" * 20_000))
        assert caught.value.code == code
    rest = served.wire("HTTP+JSON")
    assert isinstance(rest, Rest)
    answer: httpx.Response = await served.client.send(
        rest.request("SendMessage", text("x" * 20_000), {"A2A-Version": "1.0"})
    )
    assert answer.status_code == 413
