"""Routers, policies, joins, and concurrent maps."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from penguiflow import (
    DictRoutingPolicy,
    Node,
    PenguiFlow,
    RoutingPolicy,
    RoutingRequest,
    create,
    join_k,
    map_concurrent,
    predicate_router,
    union_router,
)
from penguiflow.core import ROOKERY, Context, Endpoint
from penguiflow.policies import evaluate_policy
from tests.support.flows import forgotten, message, node, passing, settle
from tests.unit.runtime.conftest import Run


def tagging(name: str) -> Node:
    async def tag(msg: Any, ctx: Any) -> Any:
        return name, getattr(msg, "payload", msg)

    return node(tag, name)


def routed(router: Node, *names: str, **options: Any) -> PenguiFlow:
    leaves = [tagging(name) for name in names]
    return create(router.to(*leaves), *[leaf.to() for leaf in leaves], **options)


async def results(flow: PenguiFlow, *values: Any) -> list[Any]:
    for value in values:
        await flow.emit(value)
    await settle(50)
    egress = flow._host.edges.egress
    return [await flow.fetch() for _ in range(egress.unread)]


# ---- predicate_router ----------------------------------------------------------------------------


async def test_predicate_gives_a_name_a_node_several_or_nothing(run: Run) -> None:
    def choose(msg: Any) -> Any:
        return {"name": "a", "node": flow.graph.nodes[2], "both": ["b", "a"], "none": None,
                "empty": []}[msg.payload]  # fmt: skip

    flow = routed(predicate_router("router", choose), "a", "b")
    run(flow)
    sent = [message(each) for each in ("name", "node", "both", "none", "empty")]
    got = await results(flow, *sent)
    assert sorted(got) == [("a", "both"), ("a", "name"), ("b", "both"), ("b", "node")]
    assert forgotten(flow)


async def test_predicate_may_send_straight_to_the_egress(run: Run) -> None:
    flow = run(routed(predicate_router("router", lambda msg: ROOKERY), "a"))
    assert await results(flow, "x") == ["x"]


async def test_unknown_successor_is_an_error_of_the_node(run: Run) -> None:
    router = predicate_router("router", lambda msg: "nobody")
    flow = run(routed(router, "a", emit_errors_to_rookery=True))
    (error,) = await results(flow, message())
    assert isinstance(error.original_exc, KeyError)
    assert "No successor named 'nobody'" in str(error.original_exc)


def test_routers_and_joins_validate_nothing() -> None:
    made = [predicate_router("p", lambda m: None), union_router("u", int), join_k("j", 1)]
    assert [each.policy.validate for each in made] == ["none"] * 3
    assert [each.name for each in made] == ["p", "u", "j"]


async def test_policy_has_the_last_word(run: Run) -> None:
    asked: list[RoutingRequest] = []

    class Policy:
        def select(self, request: RoutingRequest) -> Any:
            asked.append(request)
            return {"keep": request.proposed, "other": "b", "drop": None, "nothing": []}[
                request.message.payload
            ]

    assert isinstance(Policy(), RoutingPolicy)
    router = predicate_router("router", lambda msg: "a", policy=Policy())
    flow = run(routed(router, "a", "b"))
    sent = [message(each, trace_id="t") for each in ("keep", "other", "drop", "nothing")]
    got = await results(flow, *sent)
    assert sorted(got) == [("a", "keep"), ("b", "other")]
    request = asked[0]
    assert (request.message, request.node, request.trace_id) == (sent[0], router, "t")
    assert (request.node_name, list(request.proposed_names)) == ("router", ["a"])
    assert request.proposed == (flow.graph.nodes[1],)
    assert isinstance(request.context, Context)


# ---- union_router --------------------------------------------------------------------------------


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"


class Stone(BaseModel):
    weight: float


async def test_union_is_routed_by_kind_or_class_and_validated(run: Run) -> None:
    union = Annotated[Cat | Dog, Field(discriminator="kind")] | Stone
    flow = run(routed(union_router("router", union), "cat", "dog", "Stone"))
    got = await results(flow, {"kind": "cat", "lives": "9"}, Dog(), Stone(weight=1))
    assert sorted(got, key=str) == [
        ("Stone", Stone(weight=1)), ("cat", Cat(lives=9)), ("dog", Dog()),
    ]  # fmt: skip


async def test_value_that_is_none_of_the_union(run: Run) -> None:
    flow = run(routed(union_router("r", Cat | Dog), "cat", "dog", emit_errors_to_rookery=True))
    (error,) = await results(flow, {"kind": "bird"})
    assert error.exception_type == "ValidationError"


async def test_kind_without_a_successor(run: Run) -> None:
    flow = run(routed(union_router("r", Cat | Dog), "cat", emit_errors_to_rookery=True))
    (error,) = await results(flow, Dog())
    assert "No successor named 'dog'" in error.message


async def test_policy_of_a_union_router(run: Run) -> None:
    router = union_router("r", Cat | Dog, policy=lambda request: "dog")
    flow = run(routed(router, "cat", "dog"))
    assert await results(flow, Cat(lives=1)) == [("dog", Cat(lives=1))]


# ---- policies ------------------------------------------------------------------------------------


def request(trace_id: str | None = "t", msg: Any = None) -> RoutingRequest:
    a, router = passing("a"), passing("router")
    return RoutingRequest(msg, Context(Endpoint("x")), router, (a,), trace_id)


async def test_policy_is_an_object_or_a_callable_sync_or_async() -> None:
    class Sync:
        def select(self, request: RoutingRequest) -> str:
            return "sync object"

    class Async:
        async def select(self, request: RoutingRequest) -> str:
            return "async object"

    async def function(request: RoutingRequest) -> str:
        return "async function"

    policies: list[Any] = [Sync(), Async(), lambda request: "function", function]
    assert [await evaluate_policy(policy, request()) for policy in policies] == [
        "sync object", "async object", "function", "async function",
    ]  # fmt: skip


def test_table_looks_up_the_trace_id() -> None:
    policy = DictRoutingPolicy({"t": "a", "u": None})
    assert policy.select(request("t")) == "a"
    assert policy.select(request("u")) is None
    assert policy.select(request("other")) is None
    policy.set_default("b")
    assert [policy.select(request(t)) for t in ("t", "u", "other", None)] == ["a", None, "b", "b"]
    policy.update_mapping({"other": "c"})
    assert [policy.select(request(t)) for t in ("t", "other")] == ["b", "c"]


def test_table_with_another_key() -> None:
    policy = DictRoutingPolicy({"acme": ["a", "b"]}, default="d", key_getter=lambda r: r.message)
    assert policy.select(request(msg="acme")) == ["a", "b"]
    assert policy.select(request(msg="else")) == "d"


def test_table_from_json_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps({"t": "a"})
    file = tmp_path / "routes.json"
    file.write_text(text, "utf-8")
    monkeypatch.setenv("ROUTES", text)
    monkeypatch.setenv("PAIRS", "t=b")
    made = [
        DictRoutingPolicy.from_json(text, default="d"),
        DictRoutingPolicy.from_json_file(file, default="d"),
        DictRoutingPolicy.from_json_file(str(file), default="d"),
        DictRoutingPolicy.from_env("ROUTES", default="d"),
        DictRoutingPolicy.from_env("PAIRS", loader=lambda t: dict([t.split("=")]), default="d"),
    ]
    assert [policy.select(request("t")) for policy in made] == ["a", "a", "a", "a", "b"]
    assert [policy.select(request("u")) for policy in made] == ["d"] * 5


def test_table_that_is_not_there_or_is_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROUTES", raising=False)
    with pytest.raises(KeyError):
        DictRoutingPolicy.from_env("ROUTES")
    monkeypatch.setenv("ROUTES", "[1]")
    with pytest.raises(TypeError):
        DictRoutingPolicy.from_env("ROUTES")
    with pytest.raises(TypeError):
        DictRoutingPolicy.from_json("3")
    with pytest.raises(TypeError):
        DictRoutingPolicy(["a"])  # type: ignore[arg-type]


# ---- join_k --------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, -1])
def test_k_must_be_positive(k: int) -> None:
    with pytest.raises(ValueError, match="k must be positive"):
        join_k("join", k)


async def test_join_takes_k_messages_of_a_trace_in_order_of_arrival(run: Run) -> None:
    flow = run(create(join_k("join", 2).to()))
    for payload, trace_id in ((1, "t"), (2, "u"), (3, "t"), (4, "u"), (5, "t")):
        await flow.emit(message(payload, trace_id=trace_id, meta={"first": payload}))
        await settle()
    got = [await flow.fetch() for _ in range(2)]
    assert [(m.trace_id, m.payload, m.meta) for m in got] == [
        ("t", [1, 3], {"first": 1}), ("u", [2, 4], {"first": 2}),
    ]  # fmt: skip
    await flow.emit(message(6, trace_id="t"))
    assert (await flow.fetch()).payload == [5, 6]
    assert forgotten(flow)


async def test_join_does_not_change_the_messages_it_takes(run: Run) -> None:
    flow = run(create(join_k("join", 1).to()))
    sent = message("x")
    await flow.emit(sent)
    assert (await flow.fetch()).payload == ["x"]
    assert sent.payload == "x"


async def test_other_traced_objects_are_joined_to_a_list(run: Run) -> None:
    class Piece:
        trace_id = "t"

    pieces = [Piece(), Piece()]
    flow = run(create(join_k("join", 2).to()))
    for piece in pieces:
        await flow.emit(piece)
    assert await flow.fetch() == pieces


async def test_join_needs_a_trace_id(run: Run) -> None:
    flow = run(create(join_k("join", 2).to(), emit_errors_to_rookery=True))
    await flow.emit(1)
    error = await flow.fetch()
    assert isinstance(error.original_exc, ValueError)
    assert "join_k requires messages with trace_id" in error.message


async def test_join_outside_of_a_flow() -> None:
    join = join_k("join", 2)
    context = Context(Endpoint("test"))
    first = message(1, trace_id="t")
    assert await join.invoke(first, context, registry=None) is None
    joined = await join.invoke(message(2, trace_id="t"), context, registry=None)
    assert joined.payload == [1, 2]


async def test_incomplete_joins_do_not_grow_without_limit(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penguiflow.traces._IDLE_JOINS", 3)
    flow = run(create(join_k("join", 2).to()))
    for i in range(10):
        await flow.emit(message(i, trace_id=f"t{i}"))
        await settle()
    assert len(flow._host.traces) == 3
    await flow.emit(message("late", trace_id="t9"))
    assert (await flow.fetch()).payload == [9, "late"]
    assert len(flow._host.traces) == 2


# ---- map_concurrent ------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "most"), [(3, 3), (1, 1), (0, 1), (-5, 1), (100, 10)])
async def test_map_keeps_the_order_and_the_limit(limit: int, most: int) -> None:
    running = seen = 0

    async def work(item: int) -> int:
        nonlocal running, seen
        running += 1
        seen = max(seen, running)
        for _ in range(10 - item):
            await asyncio.sleep(0)
        running -= 1
        return item * item

    got = await map_concurrent(range(10), work, max_concurrency=limit)
    assert got == [i * i for i in range(10)]
    assert seen == most


async def test_map_of_nothing() -> None:
    assert await map_concurrent([], asyncio.sleep) == []


async def test_first_exception_of_a_map_is_raised_and_the_others_are_cancelled() -> None:
    cancelled: list[int] = []

    async def work(item: int) -> None:
        if item == 2:
            raise ValueError(item)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    with pytest.raises(ValueError, match="2"):
        await map_concurrent(range(5), work, max_concurrency=4)
    assert sorted(cancelled) == [0, 1, 3]
