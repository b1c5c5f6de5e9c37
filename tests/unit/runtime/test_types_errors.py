"""The values on the edges, and the error of a node."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import ValidationError

from penguiflow import (
    WM,
    FinalAnswer,
    FlowError,
    FlowErrorCode,
    Headers,
    Message,
    PlanStep,
    StreamChunk,
    Thought,
)


def test_defaults() -> None:
    headers = Headers(tenant="acme")
    assert (headers.topic, headers.priority) == (None, 0)
    before = time.time()
    sent = Message(payload=1, headers=headers)
    assert before <= sent.ts <= time.time()
    assert (sent.deadline_s, sent.meta) == (None, {})
    assert StreamChunk(stream_id="s", seq=0, text="x").model_dump() == {
        "stream_id": "s", "seq": 0, "text": "x", "done": False, "meta": {},
    }  # fmt: skip
    assert WM(query="q").model_dump() == {
        "query": "q", "facts": [], "hops": 0, "budget_hops": 8, "tokens_used": 0,
        "budget_tokens": None, "confidence": 0.0,
    }  # fmt: skip
    assert FinalAnswer(text="t").citations == []
    step = PlanStep(kind="sql")
    assert (step.args, step.max_concurrency) == ({}, 1)
    assert not Thought(steps=[step], rationale="r").done


def test_trace_ids_are_fresh_hex() -> None:
    ids = {Message(payload=None, headers=Headers(tenant="t")).trace_id for _ in range(100)}
    assert len(ids) == 100
    assert all(len(each) == 32 and int(each, 16) >= 0 for each in ids)


def test_defaults_are_not_shared() -> None:
    headers = Headers(tenant="t")
    one, other = Message(payload=1, headers=headers), Message(payload=1, headers=headers)
    one.meta["k"] = 1
    assert other.meta == {}


def test_models_are_mutable() -> None:
    message = Message(payload=1, headers=Headers(tenant="t"))
    message.payload, message.trace_id = 2, "t"
    assert (message.payload, message.trace_id) == (2, "t")


@pytest.mark.parametrize("kind", ["retrieve", "web", "sql", "summarize", "route", "stop"])
def test_kinds_of_plan_steps(kind: Any) -> None:
    assert PlanStep(kind=kind).kind == kind
    with pytest.raises(ValidationError):
        PlanStep(kind="dance")  # type: ignore[arg-type]


def test_codes() -> None:
    assert {code.name: code.value for code in FlowErrorCode} == {
        name: name
        for name in (
            "NODE_TIMEOUT", "NODE_EXCEPTION", "TRACE_CANCELLED", "DEADLINE_EXCEEDED",
            "HOP_BUDGET_EXHAUSTED", "TOKEN_BUDGET_EXHAUSTED",
        )
    }  # fmt: skip


def test_error_keeps_what_it_is_given() -> None:
    cause = ValueError("broken")
    error = FlowError(
        trace_id="t", node_name="n", code=FlowErrorCode.NODE_EXCEPTION, message="m",
        original_exc=cause, node_id="id", metadata={"k": 1},
    )  # fmt: skip
    assert isinstance(error, Exception)
    assert (error.trace_id, error.node_name, error.node_id) == ("t", "n", "id")
    assert type(error.code) is str
    assert (error.code, error.message) == ("NODE_EXCEPTION", "m")
    assert (error.original_exc, error.unwrap()) == (cause, cause)
    assert (error.exception_type, error.metadata) == ("ValueError", {"k": 1})
    assert error.to_payload() == {
        "code": "NODE_EXCEPTION", "message": "m", "trace_id": "t", "node_name": "n",
        "node_id": "id", "exception_type": "ValueError", "metadata": {"k": 1},
    }  # fmt: skip
    assert "m" in str(error)


def test_payload_of_an_error_omits_what_is_empty() -> None:
    error = FlowError(trace_id=None, node_name=None, code="OWN", message="m")
    assert error.to_payload() == {"code": "OWN", "message": "m"}
    assert error.unwrap() is None
    assert error.exception_type is None
    assert error.metadata == {}


@pytest.mark.parametrize(
    ("message", "exc", "expected"),
    [(None, ValueError("text"), "text"), ("own", ValueError("text"), "own"),
     (None, ValueError(), "ValueError")],
)  # fmt: skip
def test_error_from_an_exception(message: str | None, exc: Exception, expected: str) -> None:
    error = FlowError.from_exception(
        trace_id="t", node_name="n", node_id="id", exc=exc, code="X", message=message
    )
    assert (error.message, error.unwrap(), error.code) == (expected, exc, "X")


def test_text_of_an_error_names_trace_and_node() -> None:
    error = FlowError(trace_id="t", node_name="n", code="X", message="it broke")
    assert str(error) == "[X] it broke trace=t node=n"
    assert str(FlowError(trace_id=None, node_name=None, code="X", message="m")) == "[X] m"
