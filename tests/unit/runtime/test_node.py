"""Nodes, their policy, and the registry of their models."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from penguiflow import Message, ModelRegistry, Node, NodePolicy, create
from tests.support.flows import HEADERS, Events, message, same
from tests.unit.runtime.conftest import Run


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    text: str


def registry(name: str = "n", models: tuple[Any, Any] = (Question, Answer)) -> ModelRegistry:
    made = ModelRegistry()
    made.register(name, *models)
    return made


def test_defaults_of_a_policy() -> None:
    policy = NodePolicy()
    assert (policy.validate, policy.timeout_s, policy.max_retries) == ("both", None, 0)
    assert (policy.backoff_base, policy.backoff_mult, policy.max_backoff) == (0.5, 2.0, None)


def test_unknown_way_to_validate() -> None:
    with pytest.raises(ValueError, match=r"^validate must be one of 'both', 'in', 'out', 'none'$"):
        NodePolicy(validate="sometimes")


def test_name_defaults_to_that_of_the_function() -> None:
    node = Node(same)
    assert node.name == "same"
    assert not node.allow_cycle
    assert node.policy == NodePolicy()


def test_node_is_hashed_by_its_id_and_equals_only_itself() -> None:
    one, other = Node(same, name="n"), Node(same, name="n")
    assert hash(one) == hash(one.node_id)
    assert one.node_id != other.node_id
    assert one != other
    assert len({one, other}) == 2


def test_to_gives_the_adjacency() -> None:
    a, b, c = Node(same, name="a"), Node(same, name="b"), Node(same, name="c")
    assert a.to(b, c) == (a, (b, c))


def test_sync_function_is_refused() -> None:
    def sync(msg: Any, ctx: Any) -> Any:
        return msg

    with pytest.raises(TypeError, match="Node function must be declared with async def"):
        Node(sync)  # type: ignore[arg-type]


def test_wrong_number_of_parameters_is_refused() -> None:
    async def three(msg: Any, ctx: Any, more: Any) -> Any: ...

    text = r"Node 'three' must accept exactly two parameters \(message, ctx\); got 3"
    with pytest.raises(ValueError, match=text):
        Node(three)  # type: ignore[arg-type]


def test_context_by_keyword_only_is_refused() -> None:
    async def keyword(msg: Any, *, ctx: Any) -> Any: ...

    with pytest.raises(ValueError, match="Context parameter must be positional"):
        Node(keyword)  # type: ignore[arg-type]


async def test_object_with_an_async_call_is_a_node() -> None:
    class Callable:
        async def __call__(self, msg: Any, ctx: Any) -> Any:
            return msg + 1

    node = Node(Callable())
    assert node.name == "Callable"
    assert await node.invoke(1, None, registry=None) == 2  # type: ignore[arg-type]


async def test_invoke_validates_in_and_out() -> None:
    async def answer(msg: Question, ctx: Any) -> Any:
        assert isinstance(msg, Question)
        return {"text": msg.text.upper()}

    result = await Node(answer, name="n").invoke({"text": "a"}, None, registry=registry())  # type: ignore[arg-type]
    assert result == Answer(text="A")


@pytest.mark.parametrize(
    ("validate", "bad_in", "bad_out"),
    [
        ("both", True, True),
        ("in", True, False),
        ("out", False, True),
        ("none", False, False),
    ],
)
async def test_what_a_policy_validates(validate: str, bad_in: bool, bad_out: bool) -> None:
    async def passes(msg: Any, ctx: Any) -> Any:
        return msg.model_dump() if isinstance(msg, Question) else msg

    node = Node(passes, name="n", policy=NodePolicy(validate=validate))
    for value, refused in (({"no": 1}, bad_in or bad_out), ({"text": "a"}, False)):
        if refused:
            with pytest.raises(ValidationError):
                await node.invoke(value, None, registry=registry())  # type: ignore[arg-type]
        else:
            await node.invoke(value, None, registry=registry())  # type: ignore[arg-type]


async def test_none_passes_as_a_result() -> None:
    async def drop(msg: Any, ctx: Any) -> Any:
        return None

    assert await Node(drop, name="n").invoke(Question(text=""), None, registry=registry()) is None  # type: ignore[arg-type]


async def test_without_a_registry_nothing_is_validated() -> None:
    assert await Node(same).invoke(object, None, registry=None) is object  # type: ignore[arg-type]


async def test_node_that_validates_and_is_not_registered() -> None:
    with pytest.raises(KeyError, match="Node 'same' not registered"):
        await Node(same).invoke(1, None, registry=ModelRegistry())  # type: ignore[arg-type]


def test_registry_refuses_a_second_registration() -> None:
    made = registry()
    with pytest.raises(ValueError, match="Node 'n' already registered"):
        made.register("n", Question, Answer)


@pytest.mark.parametrize(
    "models", [(int, Answer), (Question, "Answer"), (Question(text=""), Answer)]
)
def test_registry_takes_models_only(models: Any) -> None:
    with pytest.raises(TypeError):
        registry(models=models)


def test_registry_answers() -> None:
    made = registry()
    assert made.has("n")
    assert not made.has("other")
    assert made.models("n") == (Question, Answer)
    assert [a.validate_python({"text": "a"}) for a in made.adapters("n")] == [
        Question(text="a"),
        Answer(text="a"),
    ]
    for ask in (made.models, made.adapters):
        with pytest.raises(KeyError, match="Node 'other' not registered"):
            ask("other")


async def test_validation_error_is_an_ordinary_failure_of_the_node(run: Run) -> None:
    events = Events()
    node = Node(same, name="n")
    flow = run(create(node.to(), middlewares=[events], emit_errors_to_rookery=True), registry())
    await flow.emit({"no": "text"})
    error = await flow.fetch()
    assert error.code == "NODE_EXCEPTION"
    assert error.exception_type == "ValidationError"


@pytest.mark.parametrize("validate", ["both", "out", "in", "none"])
async def test_other_value_than_the_registered_message_is_passed_on_with_a_warning(
    run: Run, validate: str
) -> None:
    async def unwrap(msg: Message, ctx: Any) -> Any:
        return msg.payload

    node = Node(unwrap, name="n", policy=NodePolicy(validate=validate))
    flow = run(create(node.to()), registry(models=(Message, Message)))
    await flow.emit(message("bare"))
    with pytest.warns(RuntimeWarning, match="Message -> Message"):
        assert await flow.fetch() == "bare"


async def test_registered_message_that_is_returned_gives_no_warning(run: Run) -> None:
    flow = run(create(Node(same, name="n").to()), registry(models=(Message, Message)))
    await flow.emit(message("kept"))
    result = await flow.fetch()
    assert (result.payload, result.headers) == ("kept", HEADERS)
