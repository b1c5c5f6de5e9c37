"""Payloads leave by telemetry only where a hook says what of them may."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from penguiflow import Context, Message, ModelRegistry, Node, create
from tests.contract.engine.flows import answer, message, single
from tests.telemetry.spans import Spans

SECRET = "the-secret-payload"


class Numbers(BaseModel):
    count: int


def _everything(spans: Spans) -> str:
    return " ".join(span.to_json() for span in spans.all)


async def _fail(msg: Message, ctx: Context) -> Message:
    raise ValueError(f"cannot take {msg.payload}")


async def _pass_on(msg: Message, ctx: Context) -> Message:
    return answer(msg, msg.payload)


async def _run(spans: Spans, func: Any) -> None:
    flow = single(func, errors=True)
    flow.telemetry = spans.tracing
    flow.run()
    await flow.emit(message(SECRET))
    await flow.fetch()
    await flow.stop()


async def test_neither_values_nor_messages_of_exceptions_are_on_a_span() -> None:
    for func in (_pass_on, _fail):
        spans = Spans()
        await _run(spans, func)
        assert spans.named("only")
        assert SECRET not in _everything(spans)


async def test_a_validation_error_does_not_quote_its_input() -> None:
    spans, registry = Spans(), ModelRegistry()

    async def count(value: Numbers, ctx: Context) -> Numbers:
        return value

    registry.register("count", Numbers, Numbers)
    flow = create(
        Node(count, name="count").to(), telemetry=spans.tracing, emit_errors_to_rookery=True
    )
    flow.run(registry=registry)
    await flow.emit({"count": SECRET})
    await flow.fetch()
    await flow.stop()
    assert "ValidationError" in spans.one("count").attributes["error.type"]
    assert SECRET not in _everything(spans)


async def test_a_hook_says_what_may_leave() -> None:
    asked: list[str] = []

    def redact(what: str, value: Any) -> str | None:
        asked.append(what)
        return f"{what} seen" if what != "input" else None

    spans = Spans(redact=redact)
    await _run(spans, _pass_on)
    await _run(spans, _fail)
    passed, failed = spans.named("only")
    assert passed.attributes["penguiflow.output"] == "output seen"
    assert "penguiflow.input" not in passed.attributes
    assert failed.events[0].attributes["exception.message"] == "exception seen"
    assert asked == ["input", "output", "input", "exception"]


async def test_a_hook_that_fails_shows_nothing_and_harms_nothing() -> None:
    def redact(what: str, value: Any) -> str:
        raise RuntimeError(SECRET)

    spans = Spans(redact=redact)
    await _run(spans, _pass_on)
    assert spans.outcomes("only") == ["ok"]
    assert SECRET not in _everything(spans)


async def test_what_a_hook_shows_has_a_limit() -> None:
    spans = Spans(redact=lambda what, value: "x" * 1_000_000)
    await _run(spans, _pass_on)
    assert len(spans.one("only").attributes["penguiflow.output"]) == 4096
